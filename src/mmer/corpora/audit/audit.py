"""The leakage audit: how much of what a fold tests has already been seen in its training."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.console import RenderableType

from mmer.audio.mixdown import CANCELLING
from mmer.corpora.audit.leaks import TRAIN, Sides, find_leaks
from mmer.corpora.audit.views import FIGURE, count_broken_views
from mmer.corpora.clips import Clip, read_clips
from mmer.corpora.corpus import Corpus, Progress
from mmer.corpora.fingerprint import DIFFERENCE
from mmer.corpora.labels import nearest
from mmer.errors import CorpusError
from mmer.files.writing import writable, write_json

if TYPE_CHECKING:
    from mmer.corpora.views import View

BY = ("split", "session", "speaker", "fold")
"""What an audit may hold against each other."""

OVERLAPS = {
    "speaker_overlap": "speaker",
    "dialogue_overlap": "dialogue",
    "transcript_overlap": "transcript",
    "near_transcript_overlap": "near_transcript",
    "copy_overlap": "copy",
    "audio_overlap": "audio",
    "near_audio_overlap": "near_audio",
}
"""Figure of a fold: column of `find_leaks` it is the share of."""

LOOKUPS = ("lookup_accuracy", "majority_accuracy", "lookup_gain")
"""Figures of a fold: what the leaked transcripts tell of the emotion."""

FAULTS = {
    "unreadable": "cannot be read",
    "empty": "of zero length",
    "short": "below 0.1 s",
    "silent": "silent",
    "very_quiet": "very quiet",
    "clipped": "clipped",
    "channels_cancel": "with channels that cancel each other",
    "unusual_duration": "unusually short or long",
    "no_fingerprint": "too short or silent for a fingerprint",
}
"""What may be wrong with clips, and how to say it."""

_SHORT = 0.1  # s; below, nothing can be heard
_WORDS = (2, 3, 4, 5)  # lengths from which transcripts are counted apart, besides that of near duplicates
_SHOWN = 5  # of the most leaked transcripts


@dataclass(frozen=True)
class Audit:
    """What an audit found; `rich.print` shows it on a page.

    Shares are between 0 and 1, and null where nothing is known: no audio, no such column, nobody tested.

    Attributes:
        source: what the corpus was read from.
        by: what was held against what: each split against training, or each group against all others.
        settings: similarity and length of near-duplicate transcripts, difference of near-duplicate recordings.
        folds: figures of each fold. `test_utterances`, `train_utterances`; the shares of the tested utterances whose
            speaker, dialogue, exact transcript, near duplicate (of those with enough words; the exact ones included),
            original or augmented copy, bytes or sound is in training too: `speaker_overlap`, `dialogue_overlap`,
            `transcript_overlap`, `near_transcript_overlap`, `copy_overlap`, `audio_overlap`, `near_audio_overlap`;
            `counts`, the same as [found, known]; `transcript_overlap_by_words`, the exact ones of those that have at
            least so many words; `lookup_accuracy`, share of the leaked transcripts that the emotion training has most
            often for the same words gets right, and `majority_accuracy`, that the most frequent emotion of training
            gets right; `lookup_gain`, what the first adds to the accuracy over all tested utterances; `emotions`.
            Where the corpus says what was improvised, `scripted` and `improvised` have the text figures of either.
            `view_overlap`: of the views of training utterances, the share that used the voice or the words of somebody
            who is not in training.
        total: the same over all tested utterances.
        transcripts: `distinct` normalized ones, `redundant` utterances that repeat one, `repeated` distinct ones said
            more than once, `ambiguous` repeated ones with several emotions, `most_leaked` ones with how often they
            are tested.
        clips: `read`, recordings that could be; and for each of `FAULTS` the ids of the utterances that have it.
        emotions: counts in each split or group.
        recordings: tested recordings that training has too, and in which utterance.
        notes: what was left out, and why a recording could not be read.
        broken_views: `view`, `fold` and `reason` of each view that breaks a fold.
    """

    source: str
    by: str
    settings: dict[str, float]
    folds: dict[str, dict[str, Any]]
    total: dict[str, Any]
    transcripts: dict[str, Any]
    clips: dict[str, Any]
    emotions: dict[str, dict[str, int]]
    recordings: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    broken_views: list[dict[str, str]] = field(default_factory=list)

    @property
    def verdict(self) -> list[str]:
        """What the figures mean, in sentences."""
        from mmer.corpora.audit.show import verdict

        return verdict(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON knows it."""
        return {**asdict(self), "verdict": self.verdict}

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write everything as JSON.

        Raises:
            MMERError: the file cannot be written.
        """
        with writable(path):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_json(path, self.to_dict())

    def __rich__(self) -> RenderableType:
        from mmer.corpora.audit.show import render

        return render(self)


def audit(
    corpus: Corpus,
    by: str = "split",
    *,
    similarity: float = 0.8,
    min_words: int = 3,
    listen: bool = True,
    progress: Progress | None = None,
    views: Sequence["View"] | None = None,
) -> Audit:
    """Look for everything that a fold tests in its training.

    Transcripts are compared as `normalize_transcript` writes them, and recordings by their bytes and by
    `mmer.corpora.fingerprint`. An augmented copy counts as what it was made from where the column `source_utterance`
    names it.

    Args:
        corpus: its utterances on no side (without a split, or in no group) are left out.
        by: `split` tests the splits validation and test on training; `session`, `speaker` and `fold` test each group on
            all others.
        similarity: word-level `SequenceMatcher` ratio from which two transcripts are nearly the same, above 0 to 1.
        min_words: shorter transcripts are not looked for nearly, 1 or more.
        listen: read the recordings.
        progress: called with the number of recordings read so far and of all.
        views: of utterances of this corpus, made by `mmer augment`.

    Raises:
        CorpusError: another `by`, an empty column, nothing to hold against each other, or a setting outside its range.
    """
    if min_words < 1:
        raise CorpusError(f"near duplicates of {min_words} words or more: give 1 or more")
    sides = _sides(corpus, by)
    on_a_side = sides.names.notna()
    table = corpus.table[on_a_side]
    clips = read_clips(table, progress) if listen else {}
    leaks, recordings = find_leaks(corpus.table, sides, clips, similarity, min_words)
    leaks = leaks[on_a_side].copy()
    if "improvised" in table:
        leaks["improvised"] = table["improvised"]
    known = len(table) if not sides.official else int((sides.names == TRAIN).sum())
    folds = {}
    for fold, rows in sorted(leaks.groupby("fold")):
        folds[str(fold)] = _figures(rows, known if sides.official else known - len(rows), min_words)
    total = _figures(leaks[leaks["fold"].notna()], None, min_words)
    broken = _add_views(folds, total, corpus.table, sides, views)
    notes = []
    if left := len(corpus) - len(table):
        notes.append(f"{left} of {len(corpus)} utterances have no {by} and are left out")
    notes += [f"cannot be read: {clip.error}" for clip in clips.values() if clip.error]
    return Audit(
        source=corpus.source,
        by=by,
        settings={"similarity": similarity, "min_words": min_words, "fingerprint_difference": DIFFERENCE},
        folds=folds,
        total=total,
        transcripts=_transcripts(leaks),
        clips=_clips(table, clips),
        emotions={str(name): _counts(labels) for name, labels in table["emotion"].groupby(sides.names)},
        recordings=recordings,
        notes=notes,
        broken_views=broken,
    )


def _add_views(
    folds: Mapping[str, dict[str, Any]],
    total: dict[str, Any],
    table: pd.DataFrame,
    sides: Sides,
    views: Sequence["View"] | None,
) -> list[dict[str, str]]:
    """Add the figure of views, null where none are given, to those of the folds; gives the views that break one."""
    by_fold, in_all, broken = count_broken_views(table, sides, views or [])
    for name, figures in folds.items():
        figures[FIGURE] = _share(*by_fold[name])
        figures["counts"][FIGURE] = list(by_fold[name])
    total[FIGURE] = _share(*in_all)
    total["counts"][FIGURE] = list(in_all)
    return broken


def _sides(corpus: Corpus, by: str) -> Sides:
    if by not in BY:
        raise CorpusError(f"cannot audit by {by!r}{nearest(by, BY)}; allowed are {', '.join(BY)}")
    names = corpus.table[by]
    present = sorted(names.dropna().unique())
    others = [column for column in BY if column != by and corpus.table[column].nunique() > 1]
    instead = f"audit by {' or '.join(others)}, or fill it in" if others else "fill it in"
    if not present:
        raise CorpusError(f"{corpus.source}: the column {by} is empty; {instead}")
    if by == "split" and (TRAIN not in present or len(present) < 2):
        found = (
            f"the only split is {present[0]}" if len(present) == 1 else "no utterance is in the split train"
        )
        raise CorpusError(f"{corpus.source}: {found}, so nothing can be held against training; {instead}")
    if len(present) < 2:
        raise CorpusError(f"{corpus.source}: the only {by} is {present[0]}, so it has no training; {instead}")
    return Sides(names, by == "split")


def _figures(rows: pd.DataFrame, train_utterances: int | None, min_words: int) -> dict[str, Any]:
    figures: dict[str, Any] = {"test_utterances": len(rows)}
    if train_utterances is not None:
        figures["train_utterances"] = train_utterances
    counts = {name: (int(rows[column].sum()), int(rows[column].count())) for name, column in OVERLAPS.items()}
    figures |= {name: _share(*count) for name, count in counts.items()}
    figures["counts"] = {name: list(count) for name, count in counts.items()}
    figures["transcript_overlap_by_words"] = {
        str(length): _share(int(long.sum()), int(long.count()))
        for length in sorted({*_WORDS, min_words})
        for long in [rows["transcript"][rows["words"] >= length]]
    }
    figures |= _lookup_figures(rows)
    figures["emotions"] = _counts(rows["emotion"])
    if "improvised" in rows:
        for name, kind in (("scripted", False), ("improvised", True)):
            figures[name] = _figures(
                rows[rows["improvised"] == kind].drop(columns="improvised"), None, min_words
            )
    return figures


def _lookup_figures(rows: pd.DataFrame) -> dict[str, float | None]:
    labeled = rows[rows["emotion"].notna()]
    leaked = labeled[labeled["lookup"].notna()]
    lookup, majority = (int((leaked[answer] == leaked["emotion"]).sum()) for answer in ("lookup", "majority"))
    return {
        "lookup_accuracy": _share(lookup, len(leaked)),
        "majority_accuracy": _share(majority, len(leaked)),
        "lookup_gain": _share(lookup - majority, len(labeled)),
    }


def _transcripts(leaks: pd.DataFrame) -> dict[str, Any]:
    said = leaks["text"].dropna()
    counts = said.value_counts()
    repeated = counts.index[counts > 1]
    emotions = leaks["emotion"].groupby(leaks["text"]).nunique()
    leaked = leaks["text"][leaks["transcript"].fillna(False)].value_counts()
    return {
        "distinct": len(counts),
        "redundant": len(said) - len(counts),
        "repeated": len(repeated),
        "ambiguous": int((emotions[repeated] > 1).sum()),
        "most_leaked": {str(text): int(count) for text, count in leaked.head(_SHOWN).items()},
    }


def _clips(table: pd.DataFrame, clips: Mapping[int, Clip]) -> dict[str, Any]:
    ids = table["utterance_id"]
    heard = {row: clip for row, clip in clips.items() if not clip.error}
    empty = {row for row, clip in clips.items() if clip.error and clip.error.endswith("holds no samples")}
    durations = pd.Series({row: clip.duration for row, clip in heard.items()}, dtype=float)
    durations = durations.reindex(table.index).fillna(table["duration"])
    faults = {
        "unreadable": [row for row in clips if row not in heard and row not in empty],
        "empty": sorted(empty | set(durations.index[durations == 0])),
        "short": durations.index[(durations > 0) & (durations < _SHORT)],
        **{
            kind.replace(" ", "_"): [
                row
                for row, clip in heard.items()
                if any(warning.startswith(kind) for warning in clip.warnings)
            ]
            for kind in ("silent", "very quiet", "clipped", CANCELLING)
        },
        "unusual_duration": durations.index[_outlying(durations)],
        "no_fingerprint": [row for row, clip in heard.items() if not clip.print],
    }
    return {"read": len(heard), **{name: ids[list(rows)].tolist() for name, rows in faults.items()}}


def _outlying(durations: pd.Series) -> pd.Series:
    """Durations three interquartile ranges below or above the middle half of all, on a scale of ratios."""
    logs = durations.where(durations > 0).map(np.log)
    low, high = logs.quantile([0.25, 0.75])
    reach = 3 * (high - low)
    return (logs < low - reach) | (logs > high + reach)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _counts(labels: pd.Series) -> dict[str, int]:
    return {str(label): int(count) for label, count in labels.value_counts().sort_index().items()}
