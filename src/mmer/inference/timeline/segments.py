"""Segments of a timeline: their times, who speaks, and their answer in words."""

from mmer.inference.prediction import Prediction


def segment_start(segment: Prediction) -> float:
    """Seconds."""
    assert segment.start is not None
    return segment.start


def segment_end(segment: Prediction) -> float:
    """Seconds."""
    assert segment.end is not None
    return segment.end


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
