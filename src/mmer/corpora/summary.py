"""Summary of a corpus."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from mmer.display.terminal import CountTable, Table
from mmer.plain_text import counted

NO_EMOTION, NO_SPLIT, NO_SPEAKER = "(none)", "(no split)", "(no speaker)"
_MISSING = ""
"""What no emotion or speaker is called, unlike the names above."""
_MOST_SPEAKERS = 30  # that a table shows one by one
_MOST_EMOTIONS = 10  # that have a column of their own beside speakers


@dataclass(frozen=True)
class CorpusSummary:
    """Counts, hours and gaps of a corpus; `rich.print` shows it as tables.

    Attributes:
        source: origin of the corpus.
        utterances: number of utterances.
        emotions: utterances of each emotion (index) in each split (columns), with `(none)` and `(no split)` for
            those without, and `total`; where there are no splits, the one column is `utterances`.
        by_speaker: utterances of each speaker (index), or `(no speaker)`, with each emotion (columns).
        speakers, sessions, languages: how many distinct ones are named.
        hours: sum of the known durations; None where none is known.
        durations: shortest, median and longest utterance in seconds; None where none is known.
        without_duration, without_transcript, without_speaker: numbers of utterances for which it is unknown.
        notes: what the reader left out or found different from the documentation.
    """

    source: str
    utterances: int
    emotions: pd.DataFrame
    by_speaker: pd.DataFrame
    speakers: int
    sessions: int
    languages: int
    hours: float | None
    durations: tuple[float, float, float] | None
    without_duration: int
    without_transcript: int
    without_speaker: int
    notes: Sequence[str]

    def __rich__(self) -> RenderableType:
        counts = Table(title=self.source, title_justify="left", title_style="bold")
        counts.add_column("emotion")
        for name in self.emotions.columns:
            counts.add_column(str(name), justify="right")
        *emotions, total = self.emotions.iterrows()
        for emotion, row in emotions:
            counts.add_row(str(emotion), *(f"{count}" for count in row))
        counts.add_section()
        counts.add_row("total", *(f"{count}" for count in total[1]))
        facts = Table.grid(padding=(0, 2))
        facts.add_column(style="bold")
        for name, value in self._facts():
            facts.add_row(name, value)
        notes = [Padding(Text(f"note: {note}"), (0, 1)) for note in self.notes]
        speakers = [self._speaker_table()] if 0 < self.speakers <= _MOST_SPEAKERS else []
        return Group(counts, *speakers, Padding(facts, (0, 1)), *notes)

    def _speaker_table(self) -> CountTable:
        totals = self.by_speaker.sum().to_numpy()
        shown = sorted(np.argsort(-totals, kind="stable")[:_MOST_EMOTIONS])
        more = ["others"] if len(shown) < len(totals) else []
        rows = [
            (str(speaker), [*row[shown], *([row.sum() - row[shown].sum()] if more else []), row.sum()])
            for speaker, row in zip(self.by_speaker.index, self.by_speaker.to_numpy(), strict=True)
        ]
        return CountTable("speaker", [*map(str, self.by_speaker.columns[shown]), *more, "total"], rows)

    def _facts(self) -> list[tuple[str, str]]:
        facts = [("utterances", f"{self.utterances}"), ("speakers", f"{self.speakers}")]
        if self.speakers > _MOST_SPEAKERS:
            each = self.by_speaker.iloc[: self.speakers].sum(axis=1)  # the row without a speaker is the last
            spread = f"{each.min()} to {each.max()}, median {each.median():.0f}"
            facts.append(("utterances of a speaker", spread))
        if self.sessions:
            facts.append(("sessions", f"{self.sessions}"))
        if self.languages:
            facts.append(("languages", f"{self.languages}"))
        if self.hours is not None and self.durations is not None:
            shortest, median, longest = self.durations
            facts.append(
                ("length", f"{self.hours:.2f} h" if self.hours >= 1 else f"{60 * self.hours:.1f} min")
            )
            facts.append(("durations", f"{shortest:.2f} to {longest:.2f} s, median {median:.2f} s"))
        gaps = {
            "duration": self.without_duration,
            "transcript": self.without_transcript,
            "speaker": self.without_speaker,
        }
        return facts + [
            (f"no {name}", f"{counted(count, 'utterance')}") for name, count in gaps.items() if count
        ]


def summarize(table: pd.DataFrame, source: str, notes: Sequence[str]) -> CorpusSummary:
    """Summarize the table of a corpus."""
    emotions = table["emotion"].fillna(_MISSING)
    splits = table["split"].fillna(NO_SPLIT)
    counts = pd.crosstab(emotions, splits)
    order = [split for split in ("train", "validation", "test", NO_SPLIT) if split in counts]
    labels = sorted(counts.index, key=lambda label: (label == _MISSING, label))
    by_speaker = pd.crosstab(table["speaker"].fillna(_MISSING), emotions)
    speakers = sorted(by_speaker.index, key=lambda speaker: (speaker == _MISSING, speaker))
    by_speaker = by_speaker.loc[speakers, labels]
    by_speaker = by_speaker.rename(index={_MISSING: NO_SPEAKER}, columns={_MISSING: NO_EMOTION})
    counts = counts.loc[labels, order].rename(index={_MISSING: NO_EMOTION})
    if order == [NO_SPLIT]:
        counts = counts.rename(columns={NO_SPLIT: "utterances"})
    elif len(order) > 1:
        counts["total"] = counts.sum(axis=1)
    counts = pd.concat([counts, counts.sum().to_frame("total").T])  # an emotion may be called so too
    counts.index.name, counts.columns.name = "emotion", None
    known = table["duration"].dropna()
    return CorpusSummary(
        source=source,
        utterances=len(table),
        emotions=counts,
        by_speaker=by_speaker,
        speakers=table["speaker"].nunique(),
        sessions=table["session"].nunique(),
        languages=table["language"].nunique(),
        hours=float(known.sum()) / 3600 if len(known) else None,
        durations=(float(known.min()), float(known.median()), float(known.max())) if len(known) else None,
        without_duration=int(table["duration"].isna().sum()),
        without_transcript=int(table["transcript"].isna().sum()),
        without_speaker=int(table["speaker"].isna().sum()),
        notes=list(notes),
    )
