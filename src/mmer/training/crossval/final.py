"""The final model of a cross-validation: trained on everything, with the figures of the folds as those to expect."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from mmer.errors import TrainingError
from mmer.evaluation.results import METRICS, CrossValidationMetrics, ExpectedFigures, RunMetrics
from mmer.recipe.schema import Recipe, load_recipe
from mmer.runs.folder import RunFolder


def final_recipe(folder: Path, overrides: Sequence[str] = ()) -> tuple[Recipe, ExpectedFigures]:
    """Make the recipe that trains on all utterances of a cross-validation, without validation and test.

    Where validation speakers chose the epoch of each fold, the model is trained for the median of these epochs.

    Args:
        folder: of a finished cross-validation.
        overrides: settings to change, as for `load_recipe`.

    Returns:
        The recipe, and the figures of the folds.

    Raises:
        TrainingError: a fold is not trained yet, or the folder holds a baseline.
        RecipeError: a setting cannot be changed so.
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
    training = recipe.training
    if metrics.selection != "last":
        kept = [RunMetrics.read(folder / "folds" / name / METRICS).kept_epoch or 1 for name in metrics.folds]
        training = training.model_copy(update={"epochs": round(median(kept)), "patience": None})
    protocol = recipe.protocol.model_copy(
        update={
            "folds": None,
            "test": [],
            "no_test": True,
            "validation": 0,
            "text_disjoint": False,
            "selection": "last",
            "refit": False,
        }
    )
    expected = ExpectedFigures(len(metrics.folds), metrics.mean, metrics.std, metrics.intervals)
    return recipe.model_copy(update={"protocol": protocol, "training": training}), expected
