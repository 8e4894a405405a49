"""Segments of a timeline: their times, who speaks, and what their warnings say."""

import re
from collections.abc import Sequence

from mmer.inference.prediction import Prediction
from mmer.plain_text import counted

_NUMBER = re.compile(r"\d+(\.\d+)?")


def segment_start(segment: Prediction) -> float:
    """Return the start in seconds."""
    assert segment.start is not None
    return segment.start


def segment_end(segment: Prediction) -> float:
    """Return the end in seconds."""
    assert segment.end is not None
    return segment.end


def segment_name(recording: str, start: float) -> str:
    """Name a segment by its recording and its start, as its `utterance_id`."""
    return f"{recording} at {start:.2f} s"


def voice(segment: Prediction) -> str:
    """Return the speaker or channel; empty for an unknown speaker in a single channel."""
    return segment.speaker or ("" if segment.channel == "mix" else segment.channel)


def clock(seconds: float) -> str:
    """Format seconds as hours where there are any, minutes, seconds and tenths, such as 05:12.4."""
    tenths = round(10 * seconds)
    hours, rest = divmod(tenths, 36000)
    minutes, rest = divmod(rest, 600)
    shown = f"{minutes:02d}:{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{shown}" if hours else shown


def amount(seconds: float) -> str:
    """Write an amount of time in seconds or, from a minute on, in whole ones, as 1 h 0 min 5 s."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{f'{hours} h ' if hours else ''}{minutes} min {rest} s"


def warning_lines(segments: Sequence[Prediction]) -> list[str]:
    """Give a line for each kind of warning: how many segments have it, and the first of them.

    Warnings that differ in their numbers alone are of one kind.
    """
    kinds: dict[str, list[str]] = {}
    for warning in (warning for segment in segments for warning in segment.warnings):
        kinds.setdefault(_NUMBER.sub("#", warning), []).append(warning)
    return [f"{len(found)} of {counted(len(segments), 'segment')}: {found[0]}" for found in kinds.values()]
