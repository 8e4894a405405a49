"""Baselines over the folds of a cross-validation, in a folder of the same form."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd
from rich.console import Console, Group
from rich.text import Text

from mmer.corpora.corpus import Corpus
from mmer.corpora.labels import nearest
from mmer.display.progress import counting
from mmer.display.terminal import messages
from mmer.errors import MMERError, TrainingError
from mmer.evaluation.evaluate import judge
from mmer.evaluation.reference_systems import egemaps_features, predict_majority, predict_svm
from mmer.evaluation.report.run_files import read_run, verdict
from mmer.evaluation.results import METRICS, RunMetrics, read_metrics
from mmer.evaluation.terminal_tables import FIGURES, metrics_tables
from mmer.evaluation.verdict import verdict_text
from mmer.files.lock import writes
from mmer.files.writing import check_output_file, check_output_folder, write_parquet
from mmer.recipe.schema import Recipe
from mmer.training.crossval import CrossValidation, open_folds, put_together
from mmer.training.preparation import read_preparation

Baseline = Literal["majority", "egemaps"]

BASELINES: Mapping[str, tuple[Baseline, bool]] = {
    "majority": ("majority", False),
    "egemaps": ("egemaps", False),
    "egemaps-speaker": ("egemaps", True),
}
"""By name, the arguments `baseline` and `per_speaker` of `cross_validate_baseline`."""


@writes("cross_validate_baseline")
def cross_validate_baseline(
    baseline: Baseline,
    recipe: Recipe,
    out: str | Path,
    *,
    per_speaker: bool = False,
    cache: Path | None = None,
    console: Console | None = None,
) -> CrossValidation:
    """Judge a baseline on the folds that `cross_validate` makes of the same recipe.

    A baseline selects nothing, so the validation groups of a fold are used for training.

    Args:
        baseline: `majority`, or `egemaps` for openSMILE functionals and a support vector machine.
        recipe: the recipe, of which the sections `data` and `protocol` are read, except the choice of the epoch.
        out: the folder, created if it does not exist, for the files of `cross_validate` without models.
        per_speaker: standardize the functionals over the clips of each speaker; see `predict_svm`.
        cache: file that stores the functionals; default: `egemaps.parquet` in the folder.
        console: where progress is shown; default: standard error.

    Raises:
        MissingExtraError: openSMILE is needed and not installed.
        TrainingError: the folder holds something else.
        RecipeError, CorpusError: see `cross_validate`.
    """
    console = console or messages()
    check_output_folder(out)
    if cache is not None:
        check_output_file(cache, [recipe.data.corpus] if recipe.data.corpus else [])
    folder = Path(out).resolve()
    system = _system(baseline, per_speaker)
    _check_folder(folder, system)
    nothing_chosen = {"selection": "last", "refit": False}
    recipe = recipe.model_copy(update={"protocol": recipe.protocol.model_copy(update=nothing_chosen)})
    made = open_folds(folder, recipe, console)
    features = pd.DataFrame()
    if baseline == "egemaps":
        corpus = Corpus.read(folder / "corpus.parquet")
        with counting(console, "openSMILE", len(corpus)) as progress:
            features = egemaps_features(corpus, cache or folder / "egemaps.parquet", progress)
    for name in made.folds:
        run = folder / "folds" / name
        preparation = read_preparation(run)
        test, labels = preparation.part("test"), preparation.labels
        train = preparation.corpus.select(preparation.corpus.table["split"] != "test")
        if baseline == "majority":
            predictions = predict_majority(train, test, labels)
        else:
            predictions = predict_svm(train, test, labels, features, per_speaker=per_speaker)
        write_parquet(predictions, run / "predictions.parquet")
        RunMetrics(system=system, selection="last", test=judge(predictions, labels)).write(run / METRICS)
    metrics = put_together(folder, recipe, made, list(made.folds), system)
    mean, std = metrics.mean, metrics.std
    means = [
        f"{FIGURES[name]} {mean[name]:.1%}"
        + (f" ± {100 * spread:.1f}" if (spread := std[name]) is not None else "")
        for name in ("accuracy", "balanced_accuracy")
    ]
    title = Text(f"{folder.name}: {system}, {len(made.folds)} folds by {made.group}", style="bold")
    told = Text(f"mean over folds: {', '.join(means)}; pooled:")
    console.print(Group(title, told, metrics_tables(metrics.pooled, metrics.intervals), Text(str(folder))))
    console.print(verdict_text(verdict(read_run(folder))))
    return CrossValidation(folder, metrics)


def baseline_of(name: str) -> tuple[Baseline, bool]:
    """Return the arguments `baseline` and `per_speaker` of `cross_validate_baseline` for a name of `BASELINES`.

    Raises:
        MMERError: there is none.
    """
    if name not in BASELINES:
        raise MMERError(f"no baseline {name!r}{nearest(name, BASELINES)}; there are {', '.join(BASELINES)}")
    return BASELINES[name]


def _system(baseline: Baseline, per_speaker: bool) -> str:
    if baseline == "majority":
        return "majority class"
    return f"eGeMAPS + SVM, standardized {'per speaker' if per_speaker else 'over training'}"


def _check_folder(folder: Path, system: str) -> None:
    """Check that the folder does not hold trained models or another baseline."""
    found = None
    if any(folder.glob("folds/*/checkpoints")):
        found = "trained models"
    elif (folder / METRICS).exists():
        found = read_metrics(folder).system or "a run"
    if found not in (None, system):
        raise TrainingError(f"{folder} holds {found}, not {system}; use another folder")
