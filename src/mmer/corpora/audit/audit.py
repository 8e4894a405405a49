"""The leakage audit: the overlap of test and training data of a fold."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from mmer.audio.faults import AudioFault
from mmer.corpora.audit.findings import (
    OVERLAPS,
    VIEW_OVERLAP,
    Audit,
    AuditFigures,
    ClipFaults,
    TranscriptCounts,
)
from mmer.corpora.audit.leaks import TRAIN, Sides, count_broken_views, find_leaks
from mmer.corpora.clips import ClipContent, read_clips
from mmer.corpora.corpus import Corpus, Progress
from mmer.corpora.fingerprint import DIFFERENCE
from mmer.corpora.labels import nearest
from mmer.corpora.protocol.views import View
from mmer.errors import CorpusError
from mmer.plain_text import counted

BY = ("split", "session", "speaker", "fold")
"""Columns that an audit can compare by."""

_HEARD = (AudioFault.SILENT, AudioFault.VERY_QUIET, AudioFault.CLIPPED, AudioFault.CHANNELS_CANCEL)
_SHORT = 0.1  # s; a shorter clip is inaudible
_WORDS = (2, 3, 4, 5)  # minimum lengths of transcripts that are also counted separately
_SHOWN = 5  # most frequent leaked transcripts listed


def audit(
    corpus: Corpus,
    by: str = "split",
    *,
    similarity: float = 0.8,
    min_words: int = 3,
    listen: bool = True,
    progress: Progress | None = None,
    views: Sequence[View] | None = None,
) -> Audit:
    """Search each fold's training data for its test utterances.

    Transcripts are compared as `normalize_transcript` writes them, and recordings by their bytes and by
    `mmer.corpora.fingerprint`. An augmented copy counts as its original where the column `source_utterance`
    names it.

    Args:
        corpus: the corpus; utterances without a split or group are left out.
        by: `split` tests the splits validation and test on training; `session`, `speaker` and `fold` test each group on
            all others.
        similarity: word-level `SequenceMatcher` ratio from which two transcripts are nearly the same, above 0 to 1.
        min_words: smallest number of words for a near-duplicate search, 1 or more.
        listen: read the recordings.
        progress: called with the number of recordings read so far and of all.
        views: views of this corpus's utterances, made by `mmer augment`.

    Raises:
        CorpusError: `by` is unknown, its column is empty, there is nothing to compare, or a setting is out of range.
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
    by_fold, in_all, broken = count_broken_views(corpus.table, sides, views or [])
    folds = {name: _with_views(figures, by_fold[name]) for name, figures in folds.items()}
    total = _with_views(total, in_all)
    notes = []
    if left := len(corpus) - len(table):
        notes.append(f"left out: {counted(left, 'utterance', of=len(corpus))} without a {by}")
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


def _with_views(figures: AuditFigures, counts: tuple[int, int]) -> AuditFigures:
    """Add the numbers of views, and of those that break the fold."""
    return replace(
        figures, view_overlap=_share(*counts), counts={**figures.counts, VIEW_OVERLAP: list(counts)}
    )


def _figures(rows: pd.DataFrame, train_utterances: int | None, min_words: int) -> AuditFigures:
    counts = {name: (int(rows[column].sum()), int(rows[column].count())) for name, column in OVERLAPS.items()}
    styles = {}
    if "improvised" in rows:
        for name, kind in (("scripted", False), ("improvised", True)):
            part = rows[rows["improvised"] == kind].drop(columns="improvised")
            styles[name] = _figures(part, None, min_words)
    return AuditFigures(
        test_utterances=len(rows),
        train_utterances=train_utterances,
        **{name: _share(*count) for name, count in counts.items()},
        counts={name: list(count) for name, count in counts.items()},
        transcript_overlap_by_words={
            str(length): _share(int(long.sum()), int(long.count()))
            for length in sorted({*_WORDS, min_words})
            for long in [rows["transcript"][rows["words"] >= length]]
        },
        **_lookup_figures(rows),
        emotions=_counts(rows["emotion"]),
        **styles,
    )


def _lookup_figures(rows: pd.DataFrame) -> dict[str, float | None]:
    emotions = rows["emotion"]
    labeled = int(emotions.notna().sum())
    leaked = int((emotions.notna() & rows["lookup"].notna()).sum())
    lookup = int((rows["lookup"] == emotions).sum())
    majority = int(((rows["majority"] == emotions) & rows["lookup"].notna()).sum())
    return {
        "lookup_accuracy": _share(lookup, leaked),
        "majority_accuracy": _share(majority, leaked),
        "lookup_gain": _share(lookup - majority, labeled),
    }


def _transcripts(leaks: pd.DataFrame) -> TranscriptCounts:
    said = leaks["text"].dropna()
    counts = said.value_counts()
    repeated = counts.index[counts > 1]
    emotions = leaks["emotion"].groupby(leaks["text"], sort=False).nunique()
    leaked = leaks["text"][leaks["transcript"].fillna(False)].value_counts()
    return TranscriptCounts(
        distinct=len(counts),
        redundant=len(said) - len(counts),
        repeated=len(repeated),
        ambiguous=int((emotions[repeated] > 1).sum()),
        most_leaked={str(text): int(count) for text, count in leaked.head(_SHOWN).items()},
    )


def _clips(table: pd.DataFrame, clips: Mapping[int, ClipContent]) -> ClipFaults:
    ids = table["utterance_id"]
    heard = {row: clip for row, clip in clips.items() if not clip.error}
    empty = {row for row, clip in clips.items() if clip.empty}
    durations = pd.Series({row: clip.duration for row, clip in heard.items()}, dtype=float)
    durations = durations.reindex(table.index).fillna(table["duration"])
    faults = {
        "unreadable": [row for row in clips if row not in heard and row not in empty],
        "empty": sorted(empty | set(durations.index[durations == 0])),
        "short": durations.index[(durations > 0) & (durations < _SHORT)],
        **{
            fault.replace(" ", "_"): [
                row for row, clip in heard.items() if any(each.fault is fault for each in clip.warnings)
            ]
            for fault in _HEARD
        },
        "unusual_duration": durations.index[_outlying(durations)],
        "no_fingerprint": [row for row, clip in heard.items() if not clip.print],
    }
    return ClipFaults(read=len(heard), **{name: ids[list(rows)].tolist() for name, rows in faults.items()})


def _outlying(durations: pd.Series) -> pd.Series:
    """Find durations more than three interquartile ranges outside the middle half, on a logarithmic scale."""
    logs = durations.where(durations > 0).map(np.log)
    low, high = logs.quantile([0.25, 0.75])
    reach = 3 * (high - low)
    return (logs < low - reach) | (logs > high + reach)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _counts(labels: pd.Series) -> dict[str, int]:
    return {str(label): int(count) for label, count in labels.value_counts().sort_index().items()}
