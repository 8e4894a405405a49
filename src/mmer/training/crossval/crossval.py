"""Cross-validation: a run for each fold, and all out-of-fold predictions in one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from mmer.corpora.labels import nearest
from mmer.corpora.protocol.folds import shown_folds
from mmer.display.terminal import messages, tell
from mmer.errors import RecipeError, TrainingError
from mmer.evaluation.report.run_files import read_run, verdict
from mmer.evaluation.results import CrossValidationMetrics
from mmer.evaluation.training_overlap import overlap, overlap_note
from mmer.evaluation.verdict import verdict_text
from mmer.files.lock import writes
from mmer.files.writing import check_output_folder
from mmer.model.build import fusion_note
from mmer.plain_text import counted
from mmer.recipe.schema import Recipe, load_run_recipe
from mmer.runs.folder import RunFolder
from mmer.training.checkpoints import check_space, prune, space_needed
from mmer.training.crossval.combine import combine_folds
from mmer.training.crossval.fold_runs import train_folds
from mmer.training.crossval.folder import open_folds
from mmer.training.crossval.summary import summary
from mmer.training.data.preparation import read_preparation
from mmer.training.data.speech_cache import study_cache


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
        out: the folder, created if it does not exist; see `folder.CONTENT`.
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
    names, shown = list(made.folds), shown_folds(made.folds)
    called = {shown[name]: name for name in names}
    wanted = names if folds is None else list(dict.fromkeys(called.get(name, name) for name in folds))
    for name in wanted:
        if name not in made.folds:
            raise RecipeError(f"no fold {name!r}{nearest(name, called)}; the folds are {', '.join(called)}")
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
        for name in finished:  # a fold that was killed after its last file was written is not begun again
            prune(folder / "folds" / name)
        metrics = combine_folds(folder, recipe, made, finished)
        console.print(summary(folder, made, metrics))
        run = read_run(folder)
        console.print(verdict_text(verdict(run)))
        if "in_training" in run.predictions and (
            note := overlap_note(overlap(run.predictions["in_training"]))
        ):
            tell(f"tested folds: {note}", console, style="yellow")
    for name, reason in failures.items():
        tell(f"fold {shown[name]} failed: {reason}", console, style="red")
    if failures:
        which = ", ".join(shown[name] for name in failures)
        failed = f"{counted(len(failures), 'fold', of=len(todo))} failed ({which})"
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


def _finished(folder: Path, names: Sequence[str]) -> list[str]:
    return [name for name in names if RunFolder(folder).fold(name).is_complete]
