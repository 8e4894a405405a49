"""Findings of an audit: figures, their meaning in words, and tables for the terminal."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from mmer.corpora.audit.leaks import BrokenView, SameRecording
from mmer.display.terminal import CountTable, Table
from mmer.files.writing import Paths, writable
from mmer.plain_text import counted, points, shown
from mmer.runs.result_file import ResultFile

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

VIEW_OVERLAP = "view_overlap"
"""Figure of a fold: share of the views of its training utterances that break it."""

LOOKUPS = ("lookup_accuracy", "majority_accuracy", "lookup_gain")
"""Figures of a fold: accuracy of looking up the emotion of leaked transcripts."""

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
"""Faults of clips, and their description."""

_FOLDS = 12  # on a page
_SHOWN = 3  # most clips listed for each fault
_NOTES = 5
_COLUMNS = {
    "speaker_overlap": "speaker",
    "dialogue_overlap": "dialogue",
    "transcript_overlap": "same\nwords",
    "near_transcript_overlap": "nearly\nsame",
    "copy_overlap": "copy",
    "audio_overlap": "same\nbytes",
    "near_audio_overlap": "same\nsound",
    "view_overlap": "views",
}
_GUESSES = {"lookup_accuracy": "with the\nsame words", "majority_accuracy": "of\nall"}
_THINGS = {
    "speaker_overlap": "speakers",
    "dialogue_overlap": "dialogues",
    "transcript_overlap": "transcripts",
    "copy_overlap": "augmented copies",
    "near_audio_overlap": "recordings",
}


@dataclass(frozen=True, kw_only=True)
class AuditFigures:
    """Overlap of a fold's test utterances with its training. Shares are 0 to 1, None where unknown.

    Attributes:
        test_utterances: number of test utterances.
        train_utterances: number of training utterances; None over all folds.
        speaker_overlap, dialogue_overlap, transcript_overlap, near_transcript_overlap, copy_overlap, audio_overlap,
            near_audio_overlap: shares of the tested utterances whose speaker, dialogue, exact transcript, near
            duplicate (of those with enough words; the exact ones included), original or augmented copy, bytes or sound
            is in training too.
        view_overlap: share of the views of training utterances that used the voice or the words of a speaker outside
            training.
        counts: the same as [found, known], by the name of the share.
        transcript_overlap_by_words: exact overlap of transcripts with at least this many words.
        lookup_accuracy: share of the leaked transcripts whose emotion is the most frequent one of the same words in
            training.
        majority_accuracy: share of them whose emotion is the most frequent one of training.
        lookup_gain: gain of the lookup in accuracy over all test utterances.
        emotions: counts.
        scripted, improvised: the text figures of either; None where this is unknown.
    """

    test_utterances: int
    train_utterances: int | None = None
    speaker_overlap: float | None
    dialogue_overlap: float | None
    transcript_overlap: float | None
    near_transcript_overlap: float | None
    copy_overlap: float | None
    audio_overlap: float | None
    near_audio_overlap: float | None
    view_overlap: float | None = None
    counts: Mapping[str, Sequence[int]]
    transcript_overlap_by_words: Mapping[str, float | None]
    lookup_accuracy: float | None
    majority_accuracy: float | None
    lookup_gain: float | None
    emotions: Mapping[str, int]
    scripted: "AuditFigures | None" = None
    improvised: "AuditFigures | None" = None

    def share(self, name: str) -> float | None:
        """Return the figure of `OVERLAPS`, `LOOKUPS` or `view_overlap` that has this name."""
        return getattr(self, name)


@dataclass(frozen=True, kw_only=True)
class TranscriptCounts:
    """Counts of repeated transcripts.

    Attributes:
        distinct: number of distinct normalized transcripts.
        redundant: number of utterances that repeat a transcript.
        repeated: number of distinct transcripts that occur more than once.
        ambiguous: number of repeated transcripts with several emotions.
        most_leaked: most frequent leaked transcripts, with their number of test utterances.
    """

    distinct: int
    redundant: int
    repeated: int
    ambiguous: int
    most_leaked: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class ClipFaults:
    """Ids of the utterances whose clips have each of `FAULTS`, and how many recordings could be read."""

    read: int
    unreadable: Sequence[str]
    empty: Sequence[str]
    short: Sequence[str]
    silent: Sequence[str]
    very_quiet: Sequence[str]
    clipped: Sequence[str]
    channels_cancel: Sequence[str]
    unusual_duration: Sequence[str]
    no_fingerprint: Sequence[str]

    def of(self, fault: str) -> Sequence[str]:
        """Return the ids of the utterances whose clips have one of `FAULTS`."""
        return getattr(self, fault)


@dataclass(frozen=True, kw_only=True)
class Audit(ResultFile):
    """Findings of an audit; `rich.print` shows them on a page.

    Attributes:
        source: origin of the corpus.
        by: what was compared: each split with training, or each group with all others.
        settings: similarity and length of near-duplicate transcripts, difference of near-duplicate recordings.
        folds: figures of each fold.
        total: figures over all test utterances.
        transcripts: counts of repeated transcripts.
        clips: faults of clips.
        emotions: counts in each split or group.
        recordings: test recordings that are also in training.
        notes: what was left out, and why a recording could not be read.
        broken_views: views that break a fold.
    """

    source: str
    by: str
    settings: Mapping[str, float]
    folds: Mapping[str, AuditFigures]
    total: AuditFigures
    transcripts: TranscriptCounts
    clips: ClipFaults
    emotions: Mapping[str, Mapping[str, int]]
    recordings: Sequence[SameRecording]
    notes: Sequence[str] = ()
    broken_views: Sequence[BrokenView] = ()

    @property
    def verdict(self) -> list[str]:
        """State the meaning of the figures in sentences."""
        return _verdict(self)

    def content(self) -> dict[str, Any]:
        """Return the content of the file; it includes the verdict only for readers."""
        return {**super().content(), "verdict": self.verdict}

    def write(self, path: Paths) -> None:
        """Write everything as JSON into a folder that is made if it does not exist.

        Raises:
            MMERError: the file cannot be written.
        """
        with writable(path):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        super().write(path)

    def __rich__(self) -> RenderableType:
        return _page(self)


def _verdict(audit: Audit) -> list[str]:
    """State the meaning of the figures: for each split, or for all groups together with the worst of them."""
    if audit.by == "split":
        sentences = [f"{name}: {said}" for name, fold in audit.folds.items() for said in _judge(fold, audit)]
    else:
        sentences = _judge(audit.total, audit)
        for figure in ("speaker_overlap", "transcript_overlap", "near_audio_overlap"):
            shares = {name: fold.share(figure) or 0 for name, fold in audit.folds.items()}
            worst = max(shares, key=shares.__getitem__)
            if shares[worst] > (audit.total.share(figure) or 0):
                what = figure.replace("_", " ")
                sentences.append(f"the greatest {what} is that of {audit.by} {worst}, {shares[worst]:.1%}")
    faults = [f"{len(ids)} {said}" for name, said in FAULTS.items() if (ids := audit.clips.of(name))]
    if faults:
        sentences.append(f"clips: {', '.join(faults)}")
    return sentences


def _judge(figures: AuditFigures, audit: Audit) -> list[str]:
    counts, sentences = figures.counts, []

    def found(name: str) -> str:
        return f"{figures.share(name):.1%} of the utterances ({counts[name][0]} of {counts[name][1]})"

    if figures.speaker_overlap:
        sentences.append(
            f"{found('speaker_overlap')} are of speakers who are in training too, so this is not a test on new voices"
        )
    if figures.dialogue_overlap:
        sentences.append(f"{found('dialogue_overlap')} are of dialogues that are in training too")
    if figures.near_transcript_overlap or figures.transcript_overlap:
        sentences.append(_judge_transcripts(figures, audit.settings))
    if figures.lookup_gain is not None and figures.lookup_accuracy is not None:
        sentences.append(
            f"the emotion most frequent for the same words in training is right for {figures.lookup_accuracy:.1%} "
            f"of these, the most frequent of all for {figures.majority_accuracy:.1%}: knowing the words by heart is "
            f"worth {points(figures.lookup_gain)} points of accuracy"
        )
    if figures.copy_overlap:
        sentences.append(
            f"{found('copy_overlap')} have an augmented copy in training, or are one of what is there: take them out"
        )
    if figures.near_audio_overlap:
        bytes_too = f", {counts['audio_overlap'][0]} of them byte for byte" if figures.audio_overlap else ""
        sentences.append(f"{found('near_audio_overlap')} are recordings that training has too{bytes_too}")
    if figures.view_overlap:
        broken, known = counts["view_overlap"]
        sentences.append(
            f"{figures.view_overlap:.1%} of the views of training utterances ({broken} of {known}) used the voice "
            "or the words of a speaker outside training: leave them out"
        )
    for share, words in ((0, "not in training"), (None, "not known")):
        things = [thing for name, thing in _THINGS.items() if figures.share(name) == share]
        if things:
            sentences.append(f"{words}: {', '.join(things)}")
    return sentences


def _judge_transcripts(figures: AuditFigures, settings: Mapping[str, float]) -> str:
    exact, known = figures.counts["transcript_overlap"]
    near, long = figures.counts["near_transcript_overlap"]
    sentence = f"{exact / known:.1%} of the transcripts ({exact} of {known}) are in training word for word"
    if not long:
        return sentence
    words, similarity = f"{settings['min_words']:g}", settings["similarity"]
    same = figures.transcript_overlap_by_words[words]
    nearly = f"{near / long:.1%} with a similarity of {similarity:g} or more"
    return f"{sentence}; of those of {counted(int(words), 'word')} or more {same:.1%} are, and {nearly}"


def _page(audit: Audit) -> RenderableType:
    """Lay out tables and sentences for the terminal."""
    facts = audit.transcripts
    said = (
        f"{counted(facts.distinct, 'different transcript')}; "
        f"{counted(facts.redundant, 'utterance', 'repeats', 'repeat')} one; "
        f"{facts.repeated} {'is' if facts.repeated == 1 else 'are'} said more than once, {facts.ambiguous} of "
        "these with several emotions"
    )
    leaked = ", ".join(f"{text!r} {count}" for text, count in facts.most_leaked.items())
    parts: list[RenderableType] = [_overlaps(audit), _emotions(audit)]
    if audit.total.lookup_accuracy is not None:
        parts.insert(1, _guesses(audit))
    if facts.distinct:
        parts.append(Text(said))
    if leaked:
        parts.append(Text(f"most often tested and trained on: {leaked}"))
    for name, description in FAULTS.items():
        if ids := audit.clips.of(name):
            parts.append(Text(f"{description}: {_some(ids)}"))
    if audit.recordings:
        pairs = [f"{row.utterance} is {row.same_as}" for row in audit.recordings]
        parts.append(Text(f"recordings that training has too: {_some(pairs)}"))
    if audit.broken_views:
        said = [f"{row.view} in {row.fold}: {row.reason}" for row in audit.broken_views]
        parts.append(Text(f"views that break a fold: {_some(said)}"))
    parts += [Text(f"note: {note}") for note in audit.notes[:_NOTES]]
    if len(audit.notes) > _NOTES:
        parts.append(Text(f"note: {len(audit.notes) - _NOTES} more in the JSON file"))
    parts.append(Text("Verdict", style="bold"))
    parts += [Text(f"- {sentence}") for sentence in audit.verdict]
    return Group(*(Padding(part, (0, 1)) for part in parts))


def _overlaps(audit: Audit) -> RenderableType:
    where = "training" if audit.by == "split" else f"the other {audit.by}s"
    title = Text.assemble(
        (shown(audit.source), "bold"), f": share of each {audit.by} that is found again in {where}"
    )
    return _folds(audit, title, "utterances", lambda fold: fold.test_utterances, _COLUMNS)


def _guesses(audit: Audit) -> RenderableType:
    title = Text("Share of the transcripts found again whose emotion is the most frequent one of training")
    return _folds(audit, title, "transcripts", lambda fold: fold.counts["transcript_overlap"][0], _GUESSES)


def _folds(
    audit: Audit,
    title: Text,
    what: str,
    count: Callable[[AuditFigures], int],
    headings: Mapping[str, str],
) -> RenderableType:
    """Lay out a table of shares, after how many `what` there are in each fold."""
    columns = {name: heading for name, heading in headings.items() if audit.total.share(name) is not None}
    # Without lines between them, all columns fit into 80 characters.
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column(audit.by)
    for heading in (what, *columns.values()):
        table.add_column(Text(heading), justify="right", overflow="fold")
    leaky = sorted(
        audit.folds, key=lambda name: -max(audit.folds[name].share(figure) or 0 for figure in OVERLAPS)
    )
    rows = {name: fold for name, fold in audit.folds.items() if name in leaky[:_FOLDS]}
    kinds = {"scripted": audit.total.scripted, "improvised": audit.total.improvised}
    for part in (rows, {"all": audit.total, **{kind: found for kind, found in kinds.items() if found}}):
        table.add_section()
        for name, figures in part.items():
            shares = (_percent(figures.share(column)) for column in columns)
            table.add_row(name, str(count(figures)), *shares)
    if len(rows) < len(audit.folds):
        table.caption = (
            f"the {len(rows)} of {len(audit.folds)} {audit.by}s that leak most; the JSON file has all"
        )
        table.caption_justify = "left"
    return Group(title, Padding(table, (0, 0, 1, 0)))


def _emotions(audit: Audit) -> CountTable:
    names = list(audit.emotions) if len(audit.emotions) <= _FOLDS else []
    totals: Counter[str] = Counter()
    for counts in audit.emotions.values():
        totals.update(counts)
    rows = [
        (emotion, [*(audit.emotions[name].get(emotion, 0) for name in names), total])
        for emotion, total in sorted(totals.items())
    ]
    return CountTable("emotion", [*names, "all"], rows)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{', '.join(items[:_SHOWN])}{more}"
