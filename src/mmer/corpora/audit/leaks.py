"""Overlap with training for each utterance, in the fold that tests it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mmer.corpora.clips import ClipContent
from mmer.corpora.fingerprint import same_recordings
from mmer.corpora.protocol.overlap import TranscriptIndex
from mmer.corpora.protocol.splits import originals_of
from mmer.corpora.protocol.views import View
from mmer.text.transcripts import normalize_transcript

TRAIN = "train"


@dataclass(frozen=True)
class Sides:
    """Assignment of utterances to test folds, and the training data of each fold.

    Attributes:
        names: split or group of each utterance; None for neither.
        official: the names are splits: `train` trains every fold, and the other splits are tested. Otherwise every
            group is tested on the model that trains on all others.
    """

    names: pd.Series
    official: bool

    @property
    def tested(self) -> pd.Series:
        """Return the fold that tests each utterance; None for none."""
        return self.names.mask(self.names == TRAIN) if self.official else self.names

    def train(self, name: str | float | None, fold: str) -> bool:
        """Tell whether utterances of this split or group are in the training of a fold."""
        return name == TRAIN if self.official else isinstance(name, str) and name != fold

    def trained(self, fold: str) -> pd.Series:
        """Tell which utterances are in the training of a fold."""
        return self.names == TRAIN if self.official else self.names.notna() & (self.names != fold)

    def seen(self, values: pd.Series) -> pd.Series:
        """Tell whether each test utterance's value also occurs in its fold's training; None where unknown."""
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
    """Test recording that is also in training, with the `difference` of the fingerprints, 0 for equal bytes."""

    utterance: str
    same_as: str
    difference: float


def find_leaks(
    table: pd.DataFrame, sides: Sides, clips: Mapping[int, ClipContent], similarity: float, min_words: int
) -> tuple[pd.DataFrame, list[SameRecording]]:
    """Search the training of each fold for its test utterances.

    Args:
        table: table of a `Corpus`.
        sides: assignment of its rows.
        clips: recordings by row; the audio of other rows is unknown.
        similarity: smallest similarity of near-duplicate transcripts.
        min_words: smallest number of words for a near-duplicate search.

    Returns:
        A row for each row of `table`, and the recordings that are in training again. Columns: `fold`;
        `emotion`; `text`, the normalized transcript, and its `words`; `lookup`, the emotion that training has
        most often for the same transcript (of several, the one met first); `majority`, the most frequent
        emotion of training; and, true, false or unknown, `speaker`, `dialogue`, `transcript`, `near_transcript`
        (of those with enough words), `copy` (an augmented copy, or what the utterance is a copy of), `audio`
        (the same bytes), `near_audio` (the same sound).
    """
    # As objects: pandas takes many times as long to look up and to iterate over its own type of strings.
    texts = table["transcript"].map(normalize_transcript, na_action="ignore").astype(object)
    words = texts.map(count_words, na_action="ignore").astype(float)
    leaks = pd.DataFrame({"fold": sides.tested, "emotion": table["emotion"], "words": words, "text": texts})
    leaks["speaker"] = sides.seen(table["speaker"])
    leaks["dialogue"] = sides.seen(table["dialogue"]) if "dialogue" in table else _unknown(table)
    leaks["transcript"] = sides.seen(texts)
    leaks["near_transcript"] = _near_transcripts(leaks, sides, similarity, min_words)
    leaks["copy"] = sides.seen(originals_of(table)) if "source_utterance" in table else _unknown(table)
    leaks["lookup"], leaks["majority"] = _lookup(leaks, sides), _majority(leaks, sides)
    content = pd.Series({row: clip.content for row, clip in clips.items()}, dtype=object).reindex(table.index)
    leaks["audio"] = sides.seen(content)
    near, found = _near_audio(table["utterance_id"], sides, clips)
    leaks["near_audio"] = near.mask(leaks["audio"].isna())
    return leaks, found


def count_words(text: str) -> int:
    """Count the words of a normalized transcript; a lone apostrophe does not count."""
    return len(text.replace("'", "").split())


def _near_transcripts(leaks: pd.DataFrame, sides: Sides, similarity: float, min_words: int) -> pd.Series:
    """Tell whether training has the same or a similar transcript; unknown for shorter ones."""
    near = leaks["transcript"].mask(leaks["words"] < min_words)
    asked = leaks["text"][~near.fillna(True)]
    said = leaks["text"][(sides.names == TRAIN) if sides.official else sides.names.notna()].dropna()
    # A text outside training has one owner, the fold that tests it; -1 marks a text of several folds.
    codes = pd.Series(pd.factorize(sides.names)[0], index=leaks.index)[said.index]
    holders = codes.groupby(said, sort=False)
    single = holders.first().where(holders.nunique() == 1, -1)
    owners = {str(text): int(owner) for text, owner in single.items()}
    texts = asked.unique().tolist()
    similar = TranscriptIndex(owners, similarity).similar(
        texts, lambda text, other: owners[other] != owners.get(text)
    )
    near[asked.index] = asked.map(dict(zip(texts, similar, strict=True)))
    return near


def _lookup(leaks: pd.DataFrame, sides: Sides) -> pd.Series:
    """Return the most frequent emotion of each leaked transcript in its fold's training; None for none."""
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
    """Return the most frequent emotion in the training of each utterance's fold."""
    counts = pd.crosstab(sides.names, leaks["emotion"])
    majority = {}
    for fold in leaks["fold"].dropna().unique():
        held = counts.index == TRAIN if sides.official else counts.index != fold
        trained = counts[held].sum()
        majority[fold] = trained.idxmax() if trained.any() else None
    return leaks["fold"].map(majority)


def _near_audio(
    ids: pd.Series, sides: Sides, clips: Mapping[int, ClipContent]
) -> tuple[pd.Series, list[SameRecording]]:
    """Tell whether a recording is in training, in whatever coding, and which recording that is."""
    rows: dict[str, list[int]] = defaultdict(list)  # for each recording; equal bytes count once
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
    rows_heard = list(clips)
    tested, names = sides.tested[rows_heard].to_dict(), sides.names[rows_heard].to_dict()
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


def _unknown(table: pd.DataFrame) -> pd.Series:
    return pd.Series(pd.NA, index=table.index, dtype="boolean")


@dataclass(frozen=True, kw_only=True)
class BrokenView:
    """View that breaks a fold, and the reason."""

    view: str
    fold: str
    reason: str


def count_broken_views(
    table: pd.DataFrame, sides: Sides, views: Sequence[View]
) -> tuple[dict[str, tuple[int, int]], tuple[int, int], list[BrokenView]]:
    """Find views that may not train where their source does.

    Args:
        table: table of a `Corpus`.
        sides: assignment of its rows.
        views: views of its utterances; rejected ones are ignored.

    Returns:
        For each fold, the number of views of its training utterances that break it, and their total number; the same
        counts over all folds; and each view that breaks a fold, with the first such fold.
    """
    good = [view for view in views if view.rejected is None]
    counts: dict[str, tuple[int, int]] = {}
    reasons: dict[str, BrokenView] = {}
    used: set[str] = set()
    folds = sorted(sides.tested.dropna().unique())
    if not good:
        return dict.fromkeys(map(str, folds), (0, 0)), (0, 0), []
    for fold in folds:
        trained = table[sides.trained(fold)]
        ids, speakers = set(trained["utterance_id"]), set(trained["speaker"].dropna())
        inside = [view for view in good if view.source_utterance in ids]
        broken = [(view, reason) for view in inside if (reason := view.breaks(ids, speakers))]
        counts[str(fold)] = len(broken), len(inside)
        used.update(view.view_id for view in inside)
        for view, reason in broken:
            reasons.setdefault(view.view_id, BrokenView(view=view.view_id, fold=str(fold), reason=reason))
    return counts, (len(reasons), len(used)), list(reasons.values())
