"""The final model of a cross-validation: trained on everything, with the figures of the folds as those to expect."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from mmer.display.terminal import messages
from mmer.errors import RecipeError, TrainingError
from mmer.evaluation.results import METRICS, CrossValidationMetrics, ExpectedFigures, RunMetrics
from mmer.recipe.schema import Recipe, load_recipe, load_run_recipe
from mmer.runs.folder import RunFolder
from mmer.training.changed_inputs import source_changes

_FREE = ("data.corpus", "training.seed")
"""Settings that may differ from those of the folds: the corpus may have been moved, and seeds were not chosen."""


def final_recipe(folder: Path, overrides: Sequence[str] = ()) -> tuple[Recipe, ExpectedFigures]:
    """Make the recipe that trains on all utterances of a cross-validation, without validation and test.

    Where validation speakers chose the epoch of each fold, the model is trained for the median of these epochs.

    Args:
        folder: of a finished cross-validation.
        overrides: settings to change, as for `load_recipe`; the seed, the place of the corpus, and `RUN_SETTINGS`.

    Returns:
        The recipe, and the figures of the folds.

    Raises:
        TrainingError: a fold is not trained yet, or the folder holds a baseline.
        RecipeError: a setting cannot be changed so, or the figures of the folds would not be those to expect, since
            another setting or the corpus has changed.
        MMERError: a file in the folder is damaged.
    """
    files = RunFolder(folder)
    if not files.metrics.is_file():
        raise TrainingError(f"{folder} holds no trained fold; finish the cross-validation first")
    metrics = CrossValidationMetrics.read(files.metrics)
    if metrics.missing:
        raise TrainingError(
            f"{folder}: folds {', '.join(metrics.missing)} are not trained yet; train them first"
        )
    if metrics.system is not None:
        raise TrainingError(
            f"{folder} holds the baseline {metrics.system}, which is not trained; train a recipe"
        )
    recipe = load_recipe(str(files.recipe), overrides)
    changed = [name for name in recipe.differences(load_run_recipe(folder)) if name not in _FREE]
    changed += source_changes(folder, recipe, messages())
    if changed:
        raise RecipeError(
            f"{folder}: its figures are not those to expect of a model that differs in {', '.join(changed)}; "
            "cross-validate that into another folder first"
        )
    length = {}
    if metrics.selection != "last":
        kept = [RunMetrics.read(folder / "folds" / name / METRICS).kept_epoch or 1 for name in metrics.folds]
        length = {"epochs": round(median(kept)), "patience": None}
    nothing_tested = {"folds": None, "test": [], "no_test": True, "text_disjoint": False}
    nothing_chosen = {"validation": 0, "selection": "last", "refit": False}
    expected = ExpectedFigures(
        len(metrics.folds),
        metrics.mean,
        metrics.std,
        metrics.intervals,
        optimistic=metrics.selection == "test",
    )
    return recipe.with_settings(protocol=nothing_tested | nothing_chosen, training=length), expected
