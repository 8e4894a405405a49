"""The folder of a cross-validation: started with the run of each fold, or resumed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.folds import Fold, Folds, identify, make_folds
from mmer.corpora.protocol.splits import check_groups
from mmer.corpora.sufficiency import shortcomings
from mmer.display.progress import counting
from mmer.display.terminal import tell
from mmer.errors import MMERError, RecipeError, TrainingError
from mmer.files.writing import check_not_input, write_csv
from mmer.model.build import with_fusion
from mmer.recipe.schema import Recipe, load_run_recipe
from mmer.runs.folder import RunFolder
from mmer.runs.resume import refuse_other
from mmer.training.changed_inputs import keep_sources, source_changes
from mmer.training.data.preparation import (
    SAID_IN_TEST,
    Preparation,
    leave_out_unusable,
    read_labeled,
    share_out,
    write_preparation,
    write_recipe,
)
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
        folds = folds_of(recipe, usable.corpus)
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
    if protocol.no_test:
        raise RecipeError("protocol.no_test is true, but a cross-validation tests each fold; set it to false")
    _number_of_validating(recipe)  # before recordings are read
    return recipe.with_settings(protocol={"test": [], "folds": protocol.folds or "leave-one-out"})


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
    fold_recipe = recipe.with_settings(data={"labels": usable.labels}, protocol=changes)
    try:
        preparation = share_out(usable, fold_recipe)
    except MMERError as error:
        raise type(error)(f"fold {name}: {error}") from None
    decided = with_fusion(fold_recipe, preparation.part("train"))
    write_preparation(preparation, decided, folder / "folds" / name)
    return preparation


def folds_of(recipe: Recipe, corpus: Corpus) -> Folds:
    """Make or read the folds of `protocol.folds`.

    Args:
        recipe: its `data.corpus` is the corpus that the folds name: another recipe may use other utterances of it.
        corpus: the utterances of it that the recipe uses.

    Raises:
        RecipeError: `protocol.validation` is not a number.
        CorpusError: the corpus cannot be divided so, or the folds in the file are of another one.
    """
    protocol = recipe.protocol
    assert protocol.folds is not None
    assert recipe.data.corpus is not None
    validation = _number_of_validating(recipe)
    whole = Corpus.read(recipe.data.corpus)
    if isinstance(protocol.folds, int) or not protocol.folds.endswith(".json"):
        folds = make_folds(
            corpus,
            protocol.folds,
            group=protocol.group,
            validation=validation,
            validation_group=protocol.validation_group,
            seed=protocol.seed,
            speakers_apart=protocol.speakers_apart,
        )
        return replace(folds, corpus=identify(whole))
    folds = Folds.read(protocol.folds)
    folds.check_corpus(whole, protocol.folds)
    if validation:
        return folds
    return replace(folds, folds={name: Fold(fold.test) for name, fold in folds.folds.items()})


def _number_of_validating(recipe: Recipe) -> int:
    validation = recipe.protocol.validation
    if isinstance(validation, int):
        return validation
    found = f"protocol.validation is {json.dumps(validation, ensure_ascii=False)}"
    raise RecipeError(f"{found}; in a cross-validation it must be the number of groups that validate")
