"""Selection of the views of `mmer augment` that a run may use."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.views import View, read_views
from mmer.errors import CorpusError, Function, RecipeError
from mmer.plain_text import counted
from mmer.recipe.schema import Recipe


@dataclass(frozen=True)
class TrainingViews:
    """Accepted views of a run's training utterances, and counts of all others.

    Attributes:
        of: by utterance, those that have any.
        counts: `used` views, of `utterances` training utterances; `without`, training utterances that have none;
            and the views not used: `rejected` by their quality filters, `not_in_training`, and `breaking_fold`.
    """

    of: Mapping[str, tuple[View, ...]]
    counts: Mapping[str, int]


def choose_views(corpus: Corpus, recipe: Recipe) -> TrainingViews | None:
    """Read the views of a recipe, and keep those that may train in its fold.

    Views of validation and test utterances are counted and never used. A view of a training utterance breaks the fold
    if it used the voice or the words of a speaker outside training.

    Args:
        corpus: the utterances of the run, with their splits.
        recipe: the recipe, of which the section `augment` is read.

    Returns:
        The views; None where the recipe names none or does not use them.

    Raises:
        CorpusError: the table cannot be read, or holds no view of this corpus's utterances.
        RecipeError: a view breaks the fold, unless the recipe leaves such views out.
    """
    path = recipe.augment.views
    if path is None or not recipe.objectives.augmented_contrastive_weight:
        return None
    views, table = read_views(path), corpus.table
    known = set(table["utterance_id"])
    if not any(view.source_utterance in known for view in views):
        raise CorpusError(
            f"{path}: none of {counted(len(views), 'view')} is of an utterance of {recipe.data.corpus}"
        )
    if both := [view.view_id for view in views if view.view_id in known]:
        raise CorpusError(
            f"{path}: {both[0]} is a view and an utterance of {recipe.data.corpus}; rename it there"
        )
    trained = table[table["split"] == "train"]
    ids, speakers = set(trained["utterance_id"]), set(trained["speaker"].dropna())
    of: dict[str, list[View]] = defaultdict(list)
    broken: list[str] = []
    counts = {"used": 0, "utterances": len(ids), "without": 0}
    counts |= {"rejected": 0, "not_in_training": 0, "breaking_fold": 0}
    for view in views:
        if view.source_utterance not in ids:
            counts["not_in_training"] += 1
        elif view.rejected is not None:
            counts["rejected"] += 1
        elif reason := view.breaks(ids, speakers):
            broken.append(f"{view.view_id}: {reason}")
        else:
            of[view.source_utterance].append(view)
    if broken and recipe.augment.views_breaking_fold == "refuse":
        found = f"{counted(len(broken), 'view', 'breaks', 'break', of=len(views))} the fold, the first is {broken[0]}"
        raise RecipeError(
            f"{path}: {found}; make views within the fold, by ",
            Function("make_views"),
            " with within=COLUMN, or set augment.views_breaking_fold=leave_out",
        )
    counts |= {
        "used": sum(map(len, of.values())),
        "without": len(ids) - len(of),
        "breaking_fold": len(broken),
    }
    return TrainingViews({name: tuple(those) for name, those in of.items()}, counts)


def told(counts: Mapping[str, int]) -> str:
    """Describe the counts of `TrainingViews` in a line."""
    left = {
        "rejected by their quality filters": counts["rejected"],
        "of utterances that do not train": counts["not_in_training"],
        "left out because they break the fold": counts["breaking_fold"],
    }
    having = counts["utterances"] - counts["without"]
    rest = "".join(f", {count} {reason}" for reason, count in left.items() if count)
    return (
        f"views: {counts['used']} for {counted(having, 'training utterance', of=counts['utterances'])}{rest}"
    )
