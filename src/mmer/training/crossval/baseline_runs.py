"""Baselines over the folds of a cross-validation, in a folder of the same form."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd
from rich.console import Console, Group
from rich.text import Text

from mmer.corpora.corpus import Corpus
from mmer.corpora.labels import nearest
from mmer.corpora.protocol.splits import shared_speakers, shared_transcripts
from mmer.display.progress import counting
from mmer.display.terminal import messages, tell
from mmer.errors import CorpusError, Function, MMERError, Parameter, TrainingError
from mmer.evaluation.evaluate import judge
from mmer.evaluation.reference_systems import (
    Linear,
    egemaps_features,
    predict_linear,
    predict_majority,
    predict_svm,
)
from mmer.evaluation.report.run_files import read_run, verdict
from mmer.evaluation.results import METRICS, RunMetrics, mean_and_spread, read_metrics
from mmer.evaluation.terminal_tables import FIGURES, metrics_tables
from mmer.evaluation.verdict import verdict_text
from mmer.files.lock import writes
from mmer.files.writing import check_output_file, check_output_folder, write_parquet
from mmer.inference.embedding.files import read_embeddings
from mmer.plain_text import counted, name_of
from mmer.recipe.schema import Recipe
from mmer.training.crossval.combine import combine_folds
from mmer.training.crossval.crossval import CrossValidation
from mmer.training.crossval.folder import open_folds
from mmer.training.data.preparation import read_preparation

Baseline = Literal["majority", "egemaps", "embeddings", "embeddings-svm"]

BASELINES: Mapping[str, tuple[Baseline, bool]] = {
    "majority": ("majority", False),
    "egemaps": ("egemaps", False),
    "egemaps-speaker": ("egemaps", True),
}
"""By name, the arguments `baseline` and `per_speaker` of `cross_validate_baseline`."""
LINEAR: Mapping[Baseline, Linear] = {"embeddings": "logistic regression", "embeddings-svm": "linear SVM"}
"""Classifiers of embeddings."""


@writes("cross_validate_baseline")
def cross_validate_baseline(
    baseline: Baseline,
    recipe: Recipe,
    out: str | Path,
    *,
    per_speaker: bool = False,
    cache: Path | None = None,
    embeddings: str | Path | None = None,
    column: str | None = None,
    console: Console | None = None,
) -> CrossValidation:
    """Judge a baseline on the folds that `cross_validate` makes of the same recipe.

    A baseline selects nothing, or only on folds of its training speakers, so the validation groups of a fold are used
    for training.

    Args:
        baseline: `majority`; `egemaps` for openSMILE functionals and a support vector machine; `embeddings` for a file
            of embeddings and logistic regression, or `embeddings-svm` for the same and a linear support vector machine.
        recipe: the recipe, of which the sections `data` and `protocol` are read, except the choice of the epoch.
        out: the folder, created if it does not exist, for the files of `cross_validate` without models.
        per_speaker: standardize the functionals over the clips of each speaker; see `predict_svm`.
        cache: file that stores the functionals; default: `egemaps.parquet` in the folder.
        embeddings: the file of embeddings, as `embed` writes it.
        column: of that file, as `speech`; default: `fused`, or the only column of embeddings.
        console: where progress is shown; default: standard error.

    Raises:
        MissingExtraError: openSMILE is needed and not installed.
        TrainingError: the folder holds something else.
        CorpusError: an utterance has no recording for openSMILE; the file of embeddings cannot be read, lacks an
            utterance, or was made of other recordings or words; or see `cross_validate`.
        RecipeError: see `cross_validate`.
        MMERError: an argument does not belong to this baseline, or is missing.
    """
    console = console or messages()
    check_output_folder(out)
    if cache is not None:
        check_output_file(cache, [recipe.data.corpus] if recipe.data.corpus else [])
    folder = Path(out).resolve()
    system = _system(baseline, per_speaker, embeddings, column)
    _check_folder(folder, system)
    recipe = recipe.with_settings(protocol={"selection": "last", "refit": False})
    made = open_folds(folder, recipe, console, trains=False)
    features = pd.DataFrame()
    used = Corpus(Corpus.read(folder / "corpus.parquet").table, source=str(recipe.data.corpus))
    if baseline == "egemaps":
        with counting(console, "openSMILE", len(used)) as progress:
            features = egemaps_features(used, cache or folder / "egemaps.parquet", progress)
    elif embeddings is not None:
        numbers = read_embeddings(Path(embeddings), used, column)
        features = pd.DataFrame(numbers, index=pd.Index(used.table["utterance_id"]))
    for name in made.folds:
        run = folder / "folds" / name
        preparation = read_preparation(run).refitted  # what validates trains too
        train, test, labels = preparation.part("train"), preparation.part("test"), preparation.labels
        if baseline == "majority":
            predictions = predict_majority(train, test, labels)
        elif baseline in LINEAR:
            predictions, strength = predict_linear(LINEAR[baseline], train, test, labels, features)
            tell(
                f"fold {name}: {LINEAR[baseline]} with C = {strength:g}, chosen on its training speakers",
                console,
            )
        else:
            predictions = predict_svm(train, test, labels, features, per_speaker=per_speaker)
        write_parquet(predictions, run / "predictions.parquet")
        corpus = preparation.corpus
        RunMetrics(
            system=system,
            selection="last",
            test=judge(predictions, labels),
            shared_speakers=shared_speakers(corpus),
            shared_transcripts=shared_transcripts(corpus) if embeddings is not None else {},
        ).write(run / METRICS)
    metrics = combine_folds(folder, recipe, made, list(made.folds), system)
    means = [
        f"{FIGURES[name]} {mean_and_spread(metrics, name)}" for name in ("accuracy", "balanced_accuracy")
    ]
    title = Text(
        f"{name_of(folder)}: {system}, {counted(len(made.folds), 'fold')} by {made.group}", style="bold"
    )
    told = Text(f"mean over folds: {', '.join(means)}; pooled:")
    console.print(Group(title, told, metrics_tables(metrics.pooled, metrics.intervals), Text(str(folder))))
    console.print(verdict_text(verdict(read_run(folder))))
    return CrossValidation(folder, metrics)


def baseline_of(name: str) -> tuple[Baseline, bool]:
    """Return the arguments `baseline` and `per_speaker` of `cross_validate_baseline` for a name of `BASELINES`.

    Raises:
        MMERError: there is none.
    """
    if (kind := name.rstrip(":")) in LINEAR:
        raise MMERError(
            f"the baseline {kind} needs a file, as {kind}:FILE, which is written by ", Function("embed")
        )
    if name not in BASELINES:
        known = ", ".join([*BASELINES, *(f"{each}:FILE" for each in LINEAR)])
        raise MMERError(f"no baseline {name!r}{nearest(name, [*BASELINES, *LINEAR])}; there are {known}")
    return BASELINES[name]


def embeddings_of(name: str) -> tuple[Baseline, Path, str | None] | None:
    """Return `baseline`, `embeddings` and `column` of `cross_validate_baseline` for `embeddings:FILE[:COLUMN]`.

    Returns:
        None for the name of another baseline.
    """
    for baseline in LINEAR:
        if name.startswith(f"{baseline}:") and (text := name.removeprefix(f"{baseline}:")):
            file, colon, column = text.rpartition(":")
            if not colon or Path(text).exists():
                return baseline, Path(text), None
            return baseline, Path(file), column
    return None


def _system(baseline: Baseline, per_speaker: bool, embeddings: str | Path | None, column: str | None) -> str:
    """Name a baseline, and check that it has the arguments that belong to it.

    Raises:
        CorpusError: the file of embeddings does not exist.
        MMERError: an argument does not belong to the baseline, or is missing.
    """
    if baseline in LINEAR:
        if per_speaker:
            raise MMERError(
                Parameter("per_speaker"), f" does not belong to the baseline {baseline}; leave it out"
            )
        if embeddings is None:
            raise MMERError(f"the baseline {baseline} needs a file of ", Parameter("embeddings"))
        if not Path(embeddings).is_file():
            raise CorpusError(f"{embeddings}: no such file of embeddings")
        return f"{Path(embeddings).name}{f' ({column})' if column else ''} + {LINEAR[baseline]}"
    if embeddings is not None:
        raise MMERError(Parameter("embeddings"), f" does not belong to the baseline {baseline}; leave it out")
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
