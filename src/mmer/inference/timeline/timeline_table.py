"""A timeline as tables on a terminal: its segments, and how much of the speech has each emotion."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from mmer.display.terminal import Table, bar, tell
from mmer.inference.prediction import Prediction
from mmer.inference.prediction_table import PredictionTable
from mmer.inference.timeline.output_formats import voice
from mmer.inference.timeline.timeline import Timeline, segment_end, segment_start

_LISTED = 40  # segments that are shown one by one


def print_timeline(found: Timeline, console: Console) -> None:
    """Print the first 40 segments, without warnings, and how much of the speech of each voice has each emotion."""
    listed = found.segments[:_LISTED]
    names = list(map(_name, listed))
    table = PredictionTable(console, names, found.labels, heading="time")
    for segment, name in zip(listed, names, strict=True):
        table.add(replace(segment, warnings=[]), name)
    if (more := len(found.segments) - len(listed)) > 0:
        tell(f"and {more} more segments, which a file or another format holds", console)
    console.print()
    console.print(summary_table(found))


def summary_table(found: Timeline) -> Table:
    """Make a table of the emotions of each voice: share of its speech, seconds and segments."""
    voices: dict[str, list[Prediction]] = defaultdict(list)
    for segment in found.segments:
        if segment.label is not None:
            voices[voice(segment)].append(segment)
    title = Text(f"{found.recording}: {len(found.segments)} segments in {found.duration:.1f} s")
    table = Table(box=None, title=title, title_justify="left", padding=(0, 2, 0, 0))
    named = any(voices)
    for heading in (*(["voice"] if named else []), "emotion", "share of speech"):
        table.add_column(heading)
    for heading in ("seconds", "segments"):
        table.add_column(heading, justify="right")
    for name, segments in voices.items():
        for place, (label, seconds, count) in enumerate(_emotions(segments)):
            share = seconds / max(sum(map(_seconds, segments)), 1e-9)
            first = [name if place == 0 else ""] if named else []
            measure = Text.assemble((bar(share), "blue"), f" {share:6.1%}")
            table.add_row(*first, label, measure, f"{seconds:.1f}", str(count))
    return table


def _emotions(segments: Sequence[Prediction]) -> list[tuple[str, float, int]]:
    """Each emotion with its seconds and its number of segments, most seconds first."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for segment in segments:
        seconds[segment.label or ""].append(_seconds(segment))
    return sorted(((label, sum(each), len(each)) for label, each in seconds.items()), key=lambda one: -one[1])


def _seconds(segment: Prediction) -> float:
    return segment_end(segment) - segment_start(segment)


def _name(segment: Prediction) -> str:
    who = voice(segment)
    times = f"{_clock(segment_start(segment))} - {_clock(segment_end(segment))}"
    return f"{times} {who}" if who else times


def _clock(seconds: float) -> str:
    """Hours where there are any, minutes, seconds and tenths."""
    tenths = round(10 * seconds)
    hours, rest = divmod(tenths, 36000)
    minutes, rest = divmod(rest, 600)
    clock = f"{minutes:02d}:{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{clock}" if hours else clock
