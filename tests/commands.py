"""The `mmer` command run in this process, and a corpus small enough to train on in seconds."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from rich.console import Console

from mmer.cli.main import main
from mmer.corpora.synthetic.spoken import make_spoken
from mmer.evaluation.calibration import calibrate
from mmer.recipe.schema import load_recipe
from mmer.training import judging
from mmer.training.adaptation import adapt_published
from mmer.training.crossval.fold_runs import LOG
from mmer.training.run import train

SMALL = [
    "model.fusion=mmer",
    "training.epochs=1",
    "model.num_attention_heads=2",
    "model.intermediate_size=16",
    "model.speech.compact={hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}",
    "model.text.compact={hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}",
]
"""Overrides that make a recipe train in seconds."""


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


def run(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: Sequence[object]
) -> Outcome:
    """Run `mmer` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["mmer", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "200")
    capfd.readouterr()
    try:
        main()
        code = 0
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else 1
    captured = capfd.readouterr()
    return Outcome(code, captured.out, captured.err)


PICTURES = {
    (module, name): getattr(module, name)
    for module, name in (
        (judging, "plot_curves"),
        (judging, "plot_confusion_matrix"),
        (calibrate, "plot_calibration"),
        (adapt_published, "plot_calibration"),
    )
}
"""What draws the pictures of a run or an adaptation, by the module that calls it and its name there."""


@contextmanager
def undrawn(pictures: Mapping[tuple[ModuleType, str], Callable[..., None]] | None = None) -> Iterator[None]:
    """Runs end without their pictures, a third of the time of a tiny one, where nothing looks at them."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in PICTURES:
            patch.setattr(module, name, pictures[module, name] if pictures else lambda *_, **__: None)
        yield


def drawn() -> AbstractContextManager[None]:
    """With their pictures, within `undrawn`."""
    return undrawn(PICTURES)


def train_folds_here(
    folders: Sequence[Path], console: Console, *, jobs: int = 1, done: int = 0
) -> dict[str, str]:
    """Train folds in this process, in place of `train_folds` of `mmer.training.crossval`, which starts one for each."""
    for folder in folders:
        with (folder / LOG).open("a", encoding="utf-8") as log:
            train(load_recipe(str(folder / "recipe.yaml")), folder, console=Console(file=log))
    return {}


def make_recordings(folder: Path) -> pd.DataFrame:
    """A folder as a user would make it: recordings and metadata.csv; speakers anna, ben and cleo."""
    corpus = make_spoken(folder, train_voices=3, validation_voices=0, test_voices=0, utterances=8)
    table = corpus.table[["audio_path", "transcript", "emotion", "speaker"]].copy()
    names = dict(zip(table["speaker"].unique(), ("anna", "ben", "cleo"), strict=True))
    table["speaker"] = table["speaker"].map(names)
    table["file_name"] = [Path(path).name for path in table.pop("audio_path")]
    table.to_csv(folder / "metadata.csv", index=False)
    return table
