"""Cross-validation: a run for each fold, and all out-of-fold predictions in one file."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console, Group
from rich.text import Text

from mmer.corpora.corpus import Corpus
from mmer.corpora.labels import nearest
from mmer.corpora.protocol.folds import Fold, Folds, identify, make_folds
from mmer.corpora.protocol.splits import check_groups
from mmer.corpora.sufficiency import shortcomings
from mmer.display.progress import counting
from mmer.display.terminal import Table, messages, tell
from mmer.errors import MMERError, RecipeError, TrainingError
from mmer.evaluation.intervals import with_intervals
from mmer.evaluation.metrics import compute_metrics
from mmer.evaluation.report.run_files import read_run, verdict
from mmer.evaluation.results import METRICS, CrossValidationMetrics, RunMetrics
from mmer.evaluation.terminal_tables import FIGURES
from mmer.evaluation.training_overlap import overlap, overlap_note
from mmer.evaluation.verdict import verdict_text
from mmer.files.damaged import damaged_file
from mmer.files.lock import writes
from mmer.files.writing import check_not_input, check_output_folder, write_csv, write_parquet
from mmer.model.build import fusion_note, with_fusion
from mmer.plain_text import counted
from mmer.recipe.schema import Recipe, load_run_recipe
from mmer.runs.folder import RunFolder
from mmer.runs.resume import refuse_other
from mmer.training.changed_inputs import keep_sources, source_changes
from mmer.training.checkpoints import check_space, space_needed
from mmer.training.crossval.fold_runs import train_folds
from mmer.training.data.preparation import (
    SAID_IN_TEST,
    Preparation,
    leave_out_unusable,
    read_labeled,
    read_preparation,
    share_out,
    write_preparation,
    write_recipe,
)
from mmer.training.data.speech_cache import study_cache
from mmer.training.selection_bias import bias_table, mean_selection_bias
from mmer.training.starting_model import check_start

CONTENT = {
    "metrics.json": "every figure: of each fold, mean, spread, pooled, intervals",
    "predictions.parquet": "the answer for every utterance, by a model not trained on its speaker",
    "folds.json": "who is tested and who validates in each fold",
    "folds": "the run folder of each fold",
    "recipe.yaml": "the complete recipe",
    "corpus.parquet": "the utterances used, with the fold that tests them",
    "skipped.csv": "utterances not used as they are, and why",
    "content": "what the corpus held, to see whether it has changed",
}
"""Files in the folder of a cross-validation."""


@dataclass(frozen=True)
class CrossValidation:
    """Cross-validation in a folder.

    Attributes:
        folder: the folder.
        known: content of its `metrics.json`; None where no fold is trained.
    """

    folder: Path
    known: CrossValidationMetrics | None

    @property
    def metrics(self) -> CrossValidationMetrics:
        """Return the content of its `metrics.json`.

        Raises:
            TrainingError: no fold is trained.
        """
        if self.known is None:
            raise TrainingError(f"no fold of {self.folder} is trained")
        return self.known


@writes("cross_validate")
def cross_validate(
    recipe: Recipe,
    out: str | Path,
    folds: Sequence[str] | None = None,
    jobs: int = 1,
    *,
    console: Console | None = None,
) -> CrossValidation:
    """Train a model for each fold, judge each once on its test fold, and combine the answers.

    The same call resumes an interrupted cross-validation: trained folds are kept, and an interrupted fold continues
    from its last epoch.

    Args:
        recipe: recipe of each fold; `protocol.test` is ignored.
        out: the folder, created if it does not exist; see `CONTENT`.
        folds: names of the folds to train now; None for all. The figures are those of all folds trained so far.
        jobs: number of folds trained in parallel.
        console: where progress is shown; default: standard error.

    Raises:
        RecipeError: the recipe is not usable, a fold does not exist, or the folder holds another cross-validation.
        CorpusError: the corpus or the file of folds cannot be used, or speakers cannot be kept apart.
        TrainingError: folds failed (raised after the others are trained and combined), or the folder holds something
            else.
        KeyboardInterrupt: the user interrupts; its message says what is saved.
    """
    console = console or messages()
    check_output_folder(out)
    folder = Path(out).resolve()
    made = open_folds(folder, recipe, console, trains=True)
    names = list(made.folds)
    wanted = names if folds is None else list(dict.fromkeys(folds))
    for name in wanted:
        if name not in made.folds:
            raise RecipeError(f"no fold {name!r}{nearest(name, names)}; the folds are {', '.join(names)}")
    finished = _finished(folder, names)
    todo = [folder / "folds" / name for name in wanted if name not in finished]
    if todo:
        _tell_fusions(recipe, todo, console)
        _check_space(folder, todo, jobs)
    try:
        with study_cache(folder):
            failures = train_folds(todo, console, jobs=jobs, done=len(finished))
    except KeyboardInterrupt:
        done = f"{counted(len(_finished(folder, names)), 'fold', 'is', 'are', of=len(names))} trained in {folder}"
        raise KeyboardInterrupt(f"interrupted: {done}; the same command goes on from there") from None
    metrics = None
    if finished := _finished(folder, names):
        metrics = put_together(folder, recipe, made, finished)
        console.print(summary(folder, made, metrics))
        run = read_run(folder)
        console.print(verdict_text(verdict(run)))
        if "in_training" in run.predictions and (
            note := overlap_note(overlap(run.predictions["in_training"]))
        ):
            tell(f"tested folds: {note}", console, style="yellow")
    for name, reason in failures.items():
        tell(f"fold {name} failed: {reason}", console, style="red")
    if failures:
        failed = f"{counted(len(failures), 'fold', of=len(todo))} failed ({', '.join(failures)})"
        raise TrainingError(f"{failed}; the others are kept in {folder}, and the same command tries again")
    return CrossValidation(folder, metrics)


def _tell_fusions(recipe: Recipe, todo: Sequence[Path], console: Console) -> None:
    """Say in how many folds the training utterances decided on a network of one modality, and why."""
    if recipe.model.fusion != "auto":
        return
    decided = {run: load_run_recipe(run) for run in todo}
    for fusion in ("speech", "text"):
        runs = [run for run, each in decided.items() if each.model.fusion == fusion]
        if runs:
            note = fusion_note(recipe, decided[runs[0]], read_preparation(runs[0]).part("train"))
            tell(f"note: in {len(runs)} of {counted(len(todo), 'fold')}, {note}", console)


def _check_space(folder: Path, todo: Sequence[Path], jobs: int) -> None:
    """Check that the disk has room for the folds trained in parallel and for all models."""
    first = read_preparation(todo[0])
    needed = space_needed(load_run_recipe(todo[0]), first.part("train"), first.labels)
    check_space(folder, needed, todo, jobs)


def open_folds(folder: Path, recipe: Recipe, console: Console, *, trains: bool) -> Folds:
    """Start a cross-validation and the runs of all its folds, or resume one with the same recipe.

    Args:
        folder, recipe, console: as for `cross_validate`.
        trains: whether the recipe's network will be trained, so that its encoders must be there.

    Raises:
        RecipeError, CorpusError, TrainingError: see `cross_validate`.
    """
    recipe = _resolved(recipe)
    files, different = RunFolder(folder), list[str]()
    if files.is_begun and not files.is_run:
        different = recipe.differences(load_run_recipe(files.path))
        if files.is_cross_validation:
            different += source_changes(folder, recipe, console)
    elif not files.is_vacant:
        raise TrainingError(f"{folder} is neither a cross-validation nor an empty folder; use another folder")
    if files.is_cross_validation and not different:
        made = Folds.read(files.folds)
        _begin_deleted(folder, recipe, made, console)
        _run_as(folder, recipe)
        return made
    # One without a saved epoch, for example because of an error in its recipe, may be overwritten.
    if any(folder.glob("folds/*/checkpoints/checkpoint-*")) or any(
        folder.glob("folds/*/model/*.safetensors")
    ):
        refuse_other(folder, "its cross-validation is of another recipe", different, RecipeError)
        raise RecipeError(
            f"{folder} holds a cross-validation that lacks {files.folds.name}; use another folder"
        )
    if trains:
        check_start(recipe)
    with counting(console, "reading the corpus") as progress:
        read, protocol = read_labeled(recipe), recipe.protocol
        check_groups(
            read.corpus, group=protocol.group, no_test=True, validation_group=protocol.validation_group
        )
        usable = leave_out_unusable(read, recipe, progress)
        folds = _make_folds(recipe, usable.corpus)
        folder.mkdir(parents=True, exist_ok=True)
        files.folds.unlink(missing_ok=True)
        shutil.rmtree(folder / "folds", ignore_errors=True)
        write_recipe(recipe, folder)
        folds = _begin(folder, recipe, usable, folds)
        keep_sources(folder, recipe)
    folds.write(files.folds)
    for note in (*usable.corpus.notes, *usable.notes, *shortcomings(usable.corpus)):
        tell(f"note: {note}", console)
    return folds


def _run_as(folder: Path, recipe: Recipe) -> None:
    """Apply the recipe's current run settings to the folds not trained yet."""
    for run in RunFolder(folder).fold_runs:
        if not run.is_complete:
            write_recipe(load_run_recipe(run.path).run_as(recipe), run.path)


def _resolved(recipe: Recipe) -> Recipe:
    protocol = recipe.protocol
    if not isinstance(protocol.validation, int):
        found = f"protocol.validation is {json.dumps(protocol.validation, ensure_ascii=False)}"
        raise RecipeError(f"{found}; in a cross-validation it must be the number of groups that validate")
    return _with_protocol(recipe, test=[], folds=protocol.folds or "leave-one-out")


def _begin_deleted(folder: Path, recipe: Recipe, made: Folds, console: Console) -> None:
    """Start the runs of folds whose folders were deleted, such as those of damaged files, as they were."""
    deleted = [name for name in made.folds if not RunFolder(folder).fold(name).is_run]
    if not deleted:
        return
    with counting(console, "reading the corpus") as progress:
        usable = leave_out_unusable(read_labeled(recipe), recipe, progress)
    for name in deleted:
        _begin_fold(folder, recipe, usable, made, name)


def _begin(folder: Path, recipe: Recipe, usable: Preparation, folds: Folds) -> Folds:
    """Start the run of each fold; recordings were checked once for all folds."""
    begun, tested = dict[str, Fold](), dict[str, str]()
    for name, fold in folds.folds.items():
        preparation = _begin_fold(folder, recipe, usable, folds, name)
        tested |= dict.fromkeys(preparation.part("test").table["utterance_id"], name)
        skipped = preparation.skipped
        same = skipped["utterance_id"][skipped["kind"] == SAID_IN_TEST]
        begun[name] = replace(fold, removed=tuple(same))
    table = usable.corpus.table
    check_not_input(folder / "corpus.parquet", [str(recipe.data.corpus)])
    Corpus(table.assign(fold=table["utterance_id"].map(tested))).write(folder / "corpus.parquet")
    write_csv(usable.skipped, folder / "skipped.csv")
    return replace(folds, folds=begun)


def _begin_fold(folder: Path, recipe: Recipe, usable: Preparation, folds: Folds, name: str) -> Preparation:
    fold, changes = folds.folds[name], dict[str, object](folds=None)
    if folds.group != "split":
        changes |= {
            "group": folds.group,
            "test": list(fold.test),
            "validation": list(fold.validation) or 0,
            "validation_group": folds.validation_group,
        }
    data = recipe.data.model_copy(update={"labels": usable.labels})
    fold_recipe = _with_protocol(recipe.model_copy(update={"data": data}), **changes)
    try:
        preparation = share_out(usable, fold_recipe)
    except MMERError as error:
        raise type(error)(f"fold {name}: {error}") from None
    decided = with_fusion(fold_recipe, preparation.part("train"))
    write_preparation(preparation, decided, folder / "folds" / name)
    return preparation


def _make_folds(recipe: Recipe, corpus: Corpus) -> Folds:
    protocol = recipe.protocol
    assert protocol.folds is not None
    assert isinstance(protocol.validation, int)
    assert recipe.data.corpus is not None
    whole = Corpus.read(recipe.data.corpus)
    if isinstance(protocol.folds, int) or not protocol.folds.endswith(".json"):
        folds = make_folds(
            corpus,
            protocol.folds,
            group=protocol.group,
            validation=protocol.validation,
            validation_group=protocol.validation_group,
            seed=protocol.seed,
        )
        # Another recipe may use other utterances of the same corpus.
        return replace(folds, corpus=identify(whole))
    folds = Folds.read(protocol.folds)
    folds.check_corpus(whole, protocol.folds)
    if protocol.validation:
        return folds
    return replace(folds, folds={name: Fold(fold.test) for name, fold in folds.folds.items()})


def _with_protocol(recipe: Recipe, **changes: object) -> Recipe:
    return recipe.model_copy(update={"protocol": recipe.protocol.model_copy(update=changes)})


def _finished(folder: Path, names: Sequence[str]) -> list[str]:
    return [name for name in names if RunFolder(folder).fold(name).is_complete]


def put_together(
    folder: Path, recipe: Recipe, made: Folds, finished: Sequence[str], system: str | None = None
) -> CrossValidationMetrics:
    """Write `predictions.parquet` and `metrics.json` of the judged folds.

    Args:
        folder: folder of the cross-validation.
        recipe: its recipe.
        made: its folds.
        finished: folds whose run folders have predictions and metrics.
        system: the name of a baseline.

    Returns:
        The content of `metrics.json`.
    """
    known = Corpus.read(folder / "corpus.parquet").table.set_index("utterance_id")
    parts, runs = [], dict[str, RunMetrics]()
    for name in finished:
        run = folder / "folds" / name
        runs[name] = RunMetrics.read(run / METRICS)
        file = run / "predictions.parquet"
        with damaged_file(file, f"delete {run}, and the same command trains this fold again"):
            rows = pd.read_parquet(file).query("split == 'test'")
        parts.append(rows.assign(fold=name))
    predictions = pd.concat(parts, ignore_index=True)
    predictions = predictions.join(known[["session", "gender", "transcript"]], on="utterance_id")
    write_parquet(predictions, folder / "predictions.parquet")
    folds = {name: run.test for name, run in runs.items() if run.test is not None}
    labels = next(iter(folds.values())).labels
    shares = {name: run.shared_transcripts.get("test", 0.0) for name, run in runs.items()}
    scores = {name: [getattr(fold, name) for fold in folds.values()] for name in FIGURES}
    answered = predictions.dropna(subset=["predicted"])
    spoken = predictions["fold"][predictions["transcript"].notna()]
    metrics = CrossValidationMetrics(
        selection=recipe.protocol.selection,
        folds=folds,
        missing=[name for name in made.folds if name not in folds],
        mean={name: float(np.mean(values)) for name, values in scores.items()},
        std={
            name: float(np.std(values, ddof=1)) if len(folds) > 1 else None for name, values in scores.items()
        },
        pooled=compute_metrics(answered["emotion"].tolist(), answered["predicted"].tolist(), labels),
        intervals=with_intervals(predictions, labels),
        selection_bias=mean_selection_bias([run.selection_bias for run in runs.values()]),
        shared_transcripts=float(spoken.map(shares).mean()) if len(spoken) else 0.0,
        system=system,
    )
    metrics.write(folder / METRICS)
    return metrics


def summary(folder: Path, made: Folds, metrics: CrossValidationMetrics) -> Group:
    """Summarize a cross-validation: each fold, mean and standard deviation, pooled figures and their intervals."""
    chosen = {"last": "last epoch kept"}.get(metrics.selection, f"epoch chosen on {metrics.selection}")
    title = (
        f"{folder.name}: {counted(len(metrics.folds), 'fold', of=len(made.folds))} by {made.group}, {chosen}"
    )
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    table.add_column("fold", overflow="fold")
    shown = {name: heading for name, heading in FIGURES.items() if name != "weighted_f1"}
    for heading in ("utterances", *shown.values()):
        table.add_column(heading, justify="right")
    for name, figures in metrics.folds.items():
        table.add_row(
            Text(name), str(figures.utterances), *(f"{getattr(figures, each):.1%}" for each in shown)
        )
    table.add_section()
    mean, std, pooled = metrics.mean, metrics.std, metrics.pooled
    spreads = [
        f"{mean[name]:.1%}" + (f" ± {100 * spread:.1f}" if (spread := std[name]) is not None else "")
        for name in shown
    ]
    table.add_row("mean ± sd", "", *spreads)
    together = [f"{getattr(pooled, name):.1%}" for name in shown]
    table.add_row("pooled", str(pooled.utterances), *together, style="bold")
    intervals = metrics.intervals
    ends = [intervals[name] for name in shown]
    between = ["-" if end.low is None else f"{end.low:.1%} to {end.high:.1%}" for end in ends]
    first = ends[0]
    table.add_row(f"{first.confidence:.0%} interval", f"{first.clusters} {first.cluster}s", *between)
    parts: list[Any] = [table]
    parts += [Text(note, style="yellow") for note in dict.fromkeys(end.note for end in ends) if note]
    if metrics.selection == "test":
        note = "The epochs were chosen on the test folds: every figure is optimistic."
        if metrics.selection_bias is None:
            note += " By how much is not known without validation groups (protocol.validation)."
        parts.append(Text(note, style="yellow"))
    if metrics.selection_bias is not None:
        parts.append(bias_table(metrics.selection_bias))
    if share := metrics.shared_transcripts:
        reason = "say, word for word, what is said in the training of their fold"
        note = f"warning: {share:.1%} of the utterances {reason}; words may be remembered, not understood"
        parts.append(Text(note, style="yellow"))
    if metrics.missing:
        parts.append(Text(f"not trained yet: {', '.join(metrics.missing)}", style="yellow"))
    files = Table.grid(padding=(0, 2))
    for name, content in CONTENT.items():
        files.add_row(f"  {name}", Text(content, style="dim"))
    return Group(*parts, Text(str(folder)), files)
