"""Selection of the views of `mmer augment` that a run may use."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.splits import said_in_test
from mmer.corpora.protocol.views import View, read_views
from mmer.errors import CorpusError, Function, RecipeError
from mmer.plain_text import counted
from mmer.recipe.schema import Recipe
from mmer.training.data.feature_store import TrainingUtterance

_SAME = 0.01  # s by which equal durations differ


@dataclass(frozen=True)
class TrainingViews:
    """Accepted views of a run's training utterances, and counts of all others.

    Attributes:
        of: by utterance, those that have any.
        counts: `used` views, of `utterances` training utterances; `without`, training utterances that have none;
            and the views not used: `rejected` by their quality filters, `not_in_training`, `breaking_fold`, and
            `said_in_test`, whose words `text_disjoint` leaves out.
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
        CorpusError: the table cannot be read, holds no view of this corpus's utterances, or one of an utterance that
            was another when the view was made.
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
    trained = TrainingUtterance.of(corpus.select(table["split"] == "train"))
    sources = {utterance.utterance_id: utterance for utterance in trained}
    ids, speakers = set(sources), {each.speaker for each in trained if each.speaker is not None}
    of: dict[str, list[View]] = defaultdict(list)
    broken, stale = list[str](), list[str]()
    counts = {"used": 0, "utterances": len(ids), "without": 0}
    counts |= {"rejected": 0, "not_in_training": 0, "breaking_fold": 0, "said_in_test": 0}
    said = _said_in_test(views, corpus, recipe)
    for view in views:
        if view.source_utterance not in ids:
            counts["not_in_training"] += 1
        elif view.rejected is not None:
            counts["rejected"] += 1
        elif reason := view.breaks(ids, speakers):
            broken.append(f"{view.view_id}: {reason}")
        elif change := _change(view, sources[view.source_utterance], recipe):
            stale.append(f"{view.view_id}: {change}")
        elif view.view_id in said:
            counts["said_in_test"] += 1
        else:
            of[view.source_utterance].append(view)
    if stale:
        found = f"{counted(len(stale), 'view', 'is', 'are', of=len(views))} of another utterance or of an earlier state"
        raise CorpusError(
            f"{path}: {found} of one in {recipe.data.corpus}, the first is {stale[0]}; make the views again, by ",
            Function("make_views"),
        )
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


def _change(view: View, source: TrainingUtterance, recipe: Recipe) -> str | None:
    """Tell how an utterance differs from what a view was made of; None if it does not, as far as the view says."""
    if view.texts and source.speaker is not None and source.speaker not in view.texts:
        return f"the speaker of {source.utterance_id} was {view.texts[0]} and is {source.speaker}"
    if view.text_generator == "none" and view.transcript != source.transcript:
        return f"{source.utterance_id} had the transcript {view.transcript!r} and has {source.transcript!r}"
    if recipe.model.fusion == "text" or not (view.duration and view.duration_ratio and source.duration):
        return None
    before, crop = view.duration / view.duration_ratio, recipe.data.crop_duration
    if abs(min(before, crop or before) - source.duration) > _SAME:
        return f"{source.utterance_id} had {before:.2f} s and has {source.duration:.2f} s"
    return None


def _said_in_test(views: Sequence[View], corpus: Corpus, recipe: Recipe) -> set[str]:
    """Return the ids of views whose words, or similar ones, are in the test split, where the recipe forbids it."""
    if not recipe.protocol.text_disjoint:
        return set()
    tested = corpus.table.loc[
        corpus.table["split"] == "test", ["utterance_id", "audio_path", "transcript", "split"]
    ]
    rows = pd.DataFrame(
        {
            "utterance_id": [view.view_id for view in views],
            "audio_path": None,
            "transcript": [view.transcript for view in views],
            "split": "train",
        }
    )
    beside = Corpus(pd.concat([tested, rows], ignore_index=True))
    same = said_in_test(beside, recipe.protocol.text_similarity)
    return set(beside.table["utterance_id"][same])


def told(counts: Mapping[str, int]) -> str:
    """Describe the counts of `TrainingViews` in a line."""
    left = {
        "rejected by their quality filters": counts["rejected"],
        "of utterances that do not train": counts["not_in_training"],
        "left out because they break the fold": counts["breaking_fold"],
        "left out because their words are in the test split": counts["said_in_test"],
    }
    having = counts["utterances"] - counts["without"]
    rest = "".join(f", {count} {reason}" for reason, count in left.items() if count)
    return (
        f"views: {counts['used']} for {counted(having, 'training utterance', of=counts['utterances'])}{rest}"
    )
