"""The demo: three systems, text, speech and MMER, on synthetic speech with known answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from mmer.corpora.synthetic.spoken import RECORDINGS, TABLE, make_spoken_once
from mmer.display.picture import additional_picture
from mmer.display.terminal import Table, messages, tell
from mmer.evaluation.plots import plot_comparison
from mmer.files.lock import writes
from mmer.files.own_folder import check_own_folder
from mmer.files.writing import check_output_folder
from mmer.inference.recognizer import EmotionRecognizer
from mmer.recipe.schema import load_recipe
from mmer.runs.result_file import ResultFile
from mmer.training.run import train

SYSTEMS = {
    "text_only": ("text", "text only"),
    "speech_only": ("speech", "speech only"),
    "mmer": ("mmer", "MMER"),
}


@dataclass(frozen=True, kw_only=True)
class SystemFigures:
    """Figures of a system on voices not used in training, 0 to 1."""

    accuracy: float
    balanced_accuracy: float


@dataclass(frozen=True, kw_only=True)
class DemoFigures(ResultFile):
    """Content of `demo.json`: the figures of each system of `SYSTEMS`."""

    text_only: SystemFigures
    speech_only: SystemFigures
    mmer: SystemFigures


@writes("run_demo")
def run_demo(out: Path, *, seed: int = 0, console: Console | None = None) -> DemoFigures:
    """Make the corpus *spoken*, train the paper's baselines and MMER on it, and compare them on new voices.

    Emotion in *spoken* combines arousal, carried only by prosody, with valence, carried only by words. By construction,
    a system with access to only one of them cannot exceed 50 %.

    Args:
        out: folder for the recordings, a run folder of each system, `demo.json` and `comparison.png`. The same call
            resumes an interrupted demo.
        seed: seed of the recordings and the training.
        console: where progress is shown; default: standard error.

    Returns:
        The content of `demo.json`.

    Raises:
        MMERError: the folder cannot be used.
    """
    console = console or messages()
    check_output_folder(out)
    check_own_folder(out, "a demo", TABLE, before=(RECORDINGS,))
    table_path = make_spoken_once(out, seed, console)
    made: dict[str, SystemFigures] = {}
    for system, (fusion, name) in SYSTEMS.items():
        console.rule(Text(name, style="bold"))
        overrides = [
            f"data.corpus={json.dumps(str(table_path))}",
            f"model.fusion={fusion}",
            f"training.seed={seed}",
        ]
        tested = train(load_recipe("demo", overrides), out / system, console=console).metrics.judged("test")
        made[system] = SystemFigures(accuracy=tested.accuracy, balanced_accuracy=tested.balanced_accuracy)
    figures = DemoFigures(**made)
    figures.write(out / "demo.json")
    with additional_picture("comparison.png"):
        plot_comparison(
            {name: made[system].balanced_accuracy for system, (_, name) in SYSTEMS.items()},
            out / "comparison.png",
            title="Emotion on voices not used in training",
            chance=0.25,
        )
    _conclude(out, made, console)
    return figures


def _conclude(out: Path, made: Mapping[str, SystemFigures], console: Console) -> None:
    from mmer.corpora.corpus import Corpus

    table = Table(title="Voices not used in training", title_justify="left")
    table.add_column("system")
    for heading in ("accuracy (WA)", "balanced accuracy (UA)"):
        table.add_column(heading, justify="right")
    for system, (_, name) in SYSTEMS.items():
        figures = made[system]
        table.add_row(name, f"{figures.accuracy:.1%}", f"{figures.balanced_accuracy:.1%}")
    console.rule(Text("comparison", style="bold"))
    console.print(table)

    test = Corpus.read(out / "corpus.parquet").table.query("split == 'test'")
    clip = test.iloc[0]
    prediction = EmotionRecognizer.from_pretrained(out / "mmer" / "model")(
        clip["audio_path"], transcript=clip["transcript"]
    )
    ranking = ", ".join(f"{label} {probability:.0%}" for label, probability in prediction.ranking)
    lines = [
        f"One clip: {clip['audio_path']}",
        f"  says    {clip['transcript']!r}, acted {clip['emotion']}",
        f"  answer  {ranking}",
        "",
        f"Pictures: {out / 'comparison.png'}, {out / 'mmer' / 'confusion_matrix.png'}, {out / 'mmer' / 'curves.png'}",
        "",
        "The voices and the emotions of this demo are made. What it shows is that the fusion works, not how well",
        "it recognizes the emotions of people.",
    ]
    for line in lines:
        tell(line, console)
