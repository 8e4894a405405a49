"""Utterance by utterance: what of it is also in the training of the fold that tests it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mmer.corpora.clips import ClipContent
from mmer.corpora.fingerprint import same_recordings
from mmer.corpora.overlap import TranscriptIndex
from mmer.corpora.views import View
from mmer.text.transcripts import normalize_transcript

TRAIN = "train"


@dataclass(frozen=True)
class Sides:
    """Who is tested where, and on whom that fold trains.

    Attributes:
        names: split or group of each utterance; null is on no side.
        official: the names are splits: `train` trains every fold, and the other splits are tested. Otherwise every
            group is tested on the model that trains on all others.
    """

    names: pd.Series
    official: bool

    @property
    def tested(self) -> pd.Series:
        """Fold in which each utterance is tested; null where in none."""
        return self.names.mask(self.names == TRAIN) if self.official else self.names

    def train(self, name: str | float | None, fold: str) -> bool:
        """Whether utterances of this name are in the training of this fold."""
        return name == TRAIN if self.official else isinstance(name, str) and name != fold

    def seen(self, values: pd.Series) -> pd.Series:
        """Whether each tested utterance's value is in its fold's training too; null where that is unknown."""
        held = self.names[values.notna()].value_counts()
        if self.official:
            seen = values.isin(set(values[self.names == TRAIN].dropna()))
            others = held.get(TRAIN, 0)
        else:
            seen = self.names.groupby(values).transform("nunique") > 1
            others = held.sum() - self.names.map(held).fillna(0)
        unknown = values.isna() | self.tested.isna() | (others == 0)
        return seen.astype("boolean").mask(unknown)


@dataclass(frozen=True, kw_only=True)
class SameRecording:
    """A tested recording that training has too, and the `difference` of their fingerprints, 0 for the same bytes."""

    utterance: str
    same_as: str
    difference: float


def find_leaks(
    table: pd.DataFrame, sides: Sides, clips: Mapping[int, ClipContent], similarity: float, min_words: int
) -> tuple[pd.DataFrame, list[SameRecording]]:
    """Look for every tested utterance in the training of its fold.

    Args:
        table: of a `Corpus`.
        sides: of its rows.
        clips: recordings by row; rows without one are of unknown audio.
        similarity: of near-duplicate transcripts.
        min_words: a transcript with fewer is not looked for nearly.

    Returns:
        A row for each row of `table`, and the recordings that are in training again. Columns: `fold`;
        `emotion`; `text`, the normalized transcript, and its `words`; `lookup`, the emotion that training has
        most often for the same transcript (of several, the one met first); `majority`, the most frequent
        emotion of training; and, true, false or unknown, `speaker`, `dialogue`, `transcript`, `near_transcript`
        (of those with enough words), `copy` (an augmented copy, or what the utterance is a copy of), `audio`
        (the same bytes), `near_audio` (the same sound).
    """
    texts = table["transcript"].map(normalize_transcript, na_action="ignore")
    words = texts.map(count_words, na_action="ignore").astype(float)
    leaks = pd.DataFrame({"fold": sides.tested, "emotion": table["emotion"], "words": words, "text": texts})
    leaks["speaker"] = sides.seen(table["speaker"])
    leaks["dialogue"] = sides.seen(table["dialogue"]) if "dialogue" in table else _unknown(table)
    leaks["transcript"] = sides.seen(texts)
    leaks["near_transcript"] = _near_transcripts(leaks, sides, similarity, min_words)
    leaks["copy"] = sides.seen(_originals(table)) if "source_utterance" in table else _unknown(table)
    leaks["lookup"], leaks["majority"] = _lookup(leaks, sides), _majority(leaks, sides)
    content = pd.Series({row: clip.content for row, clip in clips.items()}, dtype=object).reindex(table.index)
    leaks["audio"] = sides.seen(content)
    near, found = _near_audio(table["utterance_id"], sides, clips)
    leaks["near_audio"] = near.mask(leaks["audio"].isna())
    return leaks, found


def count_words(text: str) -> int:
    """Words of a normalized transcript; an apostrophe alone is none."""
    return sum(word.strip("'") != "" for word in text.split())


def _near_transcripts(leaks: pd.DataFrame, sides: Sides, similarity: float, min_words: int) -> pd.Series:
    """Whether training has the same transcript or nearly so; unknown for shorter ones."""
    near = leaks["transcript"].mask(leaks["words"] < min_words)
    asked = leaks["text"][~near.fillna(True)]
    said = leaks["text"][(sides.names == TRAIN) if sides.official else sides.names.notna()].dropna()
    # A text that is not in training has one owner, the fold that tests it; -1 is a text of several.
    codes = pd.Series(pd.factorize(sides.names)[0], index=leaks.index)[said.index]
    holders = codes.groupby(said)
    single = holders.first().where(holders.nunique() == 1, -1)
    owners = {str(text): int(owner) for text, owner in single.items()}
    index = TranscriptIndex(owners, similarity)
    found = {}
    for text in asked.unique():
        own = owners.get(text)
        found[text] = index.holds_similar(text, lambda other, own=own: owners[other] != own)
    near[asked.index] = asked.map(found)
    return near


def _lookup(leaks: pd.DataFrame, sides: Sides) -> pd.Series:
    """The most frequent emotion of each leaked transcript in its fold's training; null where there is none."""
    labeled = leaks["emotion"].notna() & leaks["text"].isin(
        set(leaks["text"][leaks["transcript"].fillna(False)])
    )
    said: dict[str, list[tuple[str | None, str]]] = defaultdict(list)
    for text, name, emotion in zip(
        leaks["text"][labeled], sides.names[labeled], leaks["emotion"][labeled], strict=True
    ):
        said[text].append((name, emotion))
    asked = leaks.loc[leaks["transcript"].fillna(False), ["text", "fold"]]
    answers = {
        (text, fold): _most(emotion for name, emotion in said[text] if sides.train(name, fold))
        for text, fold in asked.drop_duplicates().itertuples(index=False)
    }
    answered = [answers[pair] for pair in asked.itertuples(index=False, name=None)]
    return pd.Series(answered, index=asked.index, dtype=object).reindex(leaks.index)


def _most(emotions: Iterable[str]) -> str | None:
    counts = Counter(emotions).most_common(1)
    return counts[0][0] if counts else None


def _majority(leaks: pd.DataFrame, sides: Sides) -> pd.Series:
    """The most frequent emotion of the training of each utterance's fold."""
    counts = pd.crosstab(sides.names, leaks["emotion"])
    majority = {}
    for fold in leaks["fold"].dropna().unique():
        trained = counts[[sides.train(str(name), fold) for name in counts.index]].sum()
        majority[fold] = trained.idxmax() if trained.any() else None
    return leaks["fold"].map(majority)


def _near_audio(
    ids: pd.Series, sides: Sides, clips: Mapping[int, ClipContent]
) -> tuple[pd.Series, list[SameRecording]]:
    """Whether a recording is in training, in whatever coding; and which recording that is."""
    rows: dict[str, list[int]] = defaultdict(list)  # of each recording, same bytes counted once
    for row, clip in clips.items():
        if clip.content:
            rows[clip.content].append(row)
    contents = [content for content, own in rows.items() if clips[own[0]].print]
    prints = [print for content in contents if (print := clips[rows[content][0]].print)]
    same: dict[str, list[tuple[str, float]]] = {content: [(content, 0.0)] for content in rows}
    for content, matches in zip(contents, same_recordings(prints), strict=True):
        for position, difference in matches:
            same[content].append((contents[position], difference))
            same[contents[position]].append((content, difference))
    near: dict[int, bool] = {}
    found: list[SameRecording] = []
    tested, names = sides.tested.to_dict(), sides.names.to_dict()
    for content, own in rows.items():
        for row in own:
            fold = tested[row]
            if pd.isna(fold):
                continue
            matches = [
                (difference, other)
                for twin, difference in same[content]
                for other in rows[twin]
                if other != row and sides.train(names[other], fold)
            ]
            if matches:
                difference, other = min(matches)
                found.append(SameRecording(utterance=ids[row], same_as=ids[other], difference=difference))
            if matches or clips[row].print:
                near[row] = bool(matches)
    return pd.Series(near, dtype="boolean").reindex(ids.index), found


def _originals(table: pd.DataFrame) -> pd.Series:
    """Id of the utterance that each was made from, itself where it is no copy."""
    sources = table.set_index("utterance_id")["source_utterance"].dropna()
    if pd.api.types.is_numeric_dtype(sources):
        sources = sources.astype("int64").astype(str)  # ids such as 12 come from CSV as numbers
    made_from = sources.to_dict()
    originals = []
    for name in table["utterance_id"]:
        passed = set()
        while name in made_from and name not in passed:
            passed.add(name)
            name = made_from[name]
        originals.append(name)
    return pd.Series(originals, index=table.index, dtype=object)


def _unknown(table: pd.DataFrame) -> pd.Series:
    return pd.Series(pd.NA, index=table.index, dtype="boolean")


@dataclass(frozen=True, kw_only=True)
class BrokenView:
    """A view that breaks a fold, and why."""

    view: str
    fold: str
    reason: str


def count_broken_views(
    table: pd.DataFrame, sides: Sides, views: Sequence[View]
) -> tuple[dict[str, tuple[int, int]], tuple[int, int], list[BrokenView]]:
    """Look for views that may not train where their source does.

    Args:
        table: of a `Corpus`.
        sides: of its rows.
        views: of its utterances; rejected ones do not count.

    Returns:
        By fold, how many of the views of its training utterances break it, and how many these are; the same for views
        that break some fold, of those that are trained on in some; and each that does, with the first such
        fold.
    """
    good = [view for view in views if view.rejected is None]
    counts: dict[str, tuple[int, int]] = {}
    reasons: dict[str, BrokenView] = {}
    used: set[str] = set()
    for fold in sorted(sides.tested.dropna().unique()):
        trained = table[[sides.train(name, fold) for name in sides.names]]
        ids, speakers = set(trained["utterance_id"]), set(trained["speaker"].dropna())
        inside = [view for view in good if view.source_utterance in ids]
        broken = [(view, reason) for view in inside if (reason := view.breaks(ids, speakers))]
        counts[str(fold)] = len(broken), len(inside)
        used.update(view.view_id for view in inside)
        for view, reason in broken:
            reasons.setdefault(view.view_id, BrokenView(view=view.view_id, fold=str(fold), reason=reason))
    return counts, (len(reasons), len(used)), list(reasons.values())
