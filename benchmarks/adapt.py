"""What `mmer adapt` gains on a new voice from a few labeled clips, and loses on the voices of training.

The recipe `demo` learns *spoken* from four voices of eSpeak NG. Each new voice is another one of eSpeak NG, resampled
so that pitch, formants and tempo are multiplied by a factor far from those of training. The model is adapted to
`--clips` clips of each emotion of the new voice, and judged on its other clips, and on clips of the four voices that
training did not hold.

    python benchmarks/adapt.py OUT [--clips 2 5 10] [--factors 0.7 1.6] [--voices 3]

Printed is balanced accuracy before and after. A study that was interrupted resumes.
"""

import argparse
from pathlib import Path

import soundfile
import soxr
from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.corpora.spoken import make_spoken
from mmer.evaluation.evaluate import judge, predict_labeled
from mmer.inference.recognizer import EmotionRecognizer
from mmer.recipe.schema import load_recipe
from mmer.training.adapt import adapt
from mmer.training.run import train

KEPT_FOR_TRAINING = 24  # of 36 groups of four sentences of each old voice
SETTINGS = ["protocol.no_test=true", "protocol.validation=0", "protocol.selection=last"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, nargs="+", default=[2, 5, 10])
    parser.add_argument("--factors", type=float, nargs="+", default=[0.7, 1.6])
    parser.add_argument("--voices", type=int, default=3)
    arguments = parser.parse_args()
    out: Path = arguments.out
    model, old = trained(out)
    console = Console(quiet=True)
    print(
        "| voice | factor | clips of each emotion | new before | new after | old before | old after |\n"
        "|---|---|---|---|---|---|---|"
    )
    for voice in range(arguments.voices):
        for factor in arguments.factors:
            new = transformed(out, voice, factor)
            for clips in arguments.clips:
                few, rest = drawn(new, clips)
                name = f"voice {voice} factor {factor:g} clips {clips}"
                few.write(out / f"{name}.parquet")
                adapted = adapt(model, out / f"{name}.parquet", out / name, console=console).model_folder
                figures = [accuracy(each, corpus) for corpus in (rest, old) for each in (model, adapted)]
                said = " | ".join(f"{figure:.1%}" for figure in figures)
                print(f"| {new.table['speaker'].iloc[0]} | {factor:g} | {clips} | {said} |", flush=True)


def trained(out: Path) -> tuple[Path, Corpus]:
    """Return a model that knows four voices, and clips of them that it was not trained on."""
    table_path = out / "old.parquet"
    if not table_path.exists():
        made = make_spoken(out / "old", train_voices=4, validation_voices=0, test_voices=0, utterances=144)
        groups = made.table.groupby("speaker").cumcount() // 4
        split = (groups < KEPT_FOR_TRAINING).map({True: "train", False: None})
        Corpus(made.table.assign(split=split)).write(table_path)
    corpus = Corpus.read(table_path)
    learned = corpus.table["split"].notna().to_numpy()
    corpus.select(learned).write(out / "learned.parquet")
    recipe = load_recipe("demo", [f"data.corpus={out / 'learned.parquet'}", *SETTINGS])
    run = train(recipe, out / "run", console=Console(quiet=True))
    return run.model_folder, corpus.select(~learned)


def transformed(out: Path, voice: int, factor: float) -> Corpus:
    """Return the clips of a new voice, resampled by a factor."""
    folder = out / f"voice {voice} factor {factor:g}"
    # The voices of a seed come in one order, of which training has the first four.
    made = make_spoken(out / "new", train_voices=4, validation_voices=voice, test_voices=1, utterances=100)
    table = made.table[made.table["split"] == "test"].reset_index(drop=True).assign(split=None)
    folder.mkdir(exist_ok=True)
    for row, path in enumerate(table["audio_path"]):
        sound, rate = soundfile.read(path, dtype="float32")
        changed = soxr.resample(sound, rate * factor, rate)
        soundfile.write(folder / Path(path).name, changed, rate)
        table.loc[row, ["audio_path", "duration"]] = str(folder / Path(path).name), len(changed) / rate
    return Corpus(table)


def drawn(corpus: Corpus, clips: int) -> tuple[Corpus, Corpus]:
    """Return so many clips of each emotion, and the others."""
    first = (corpus.table.groupby("emotion").cumcount() < clips).to_numpy()
    return corpus.select(first), corpus.select(~first)


def accuracy(model: Path, corpus: Corpus) -> float:
    """Return the balanced accuracy of a model."""
    recognizer = EmotionRecognizer.from_pretrained(model)
    judged = judge(predict_labeled(recognizer, corpus, batch_size=32), recognizer.labels)
    assert judged is not None
    return judged.balanced_accuracy


if __name__ == "__main__":
    main()
