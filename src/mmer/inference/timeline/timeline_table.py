"""A timeline as tables on a terminal: its segments, and what they say of each voice and of the whole recording."""

from collections import Counter
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from mmer.display.terminal import Table, bar, tell
from mmer.inference.prediction import Prediction
from mmer.inference.prediction_table import PredictionTable
from mmer.inference.timeline.segments import amount, clock, segment_end, segment_start, voice
from mmer.inference.timeline.summary import Summary
from mmer.inference.timeline.timeline import Timeline
from mmer.plain_text import counted

_LISTED = 40  # segments that are shown one by one
_CHANGED = 0.05  # smallest trend that is worth a line


def print_timeline(found: Timeline, console: Console) -> None:
    """Print the first 40 segments, without warnings, then the summaries of each voice and of the whole recording."""
    if not found.segments:
        tell(_title(found), console)
        return
    listed = found.segments[:_LISTED]
    names = list(map(_name, listed))
    rows = PredictionTable(console, names, found.labels, heading="time")
    for segment, name in zip(listed, names, strict=True):
        rows.add(replace(segment, warnings=[]), name)
    if (more := len(found.segments) - len(listed)) > 0:
        tell(f"and {counted(more, 'more segment')}, which a file or another format holds", console)
    console.print()
    table = summary_table(found)
    if table.row_count:
        console.print(table)
    else:
        tell(_title(found), console)
    whole, *voices = found.summaries
    for summary in voices if len(voices) == 1 else [whole, *voices]:
        for line in summary_lines(summary):
            tell(line, console)


def summary_table(found: Timeline) -> Table:
    """Make a table of the emotions of each voice: their means, share of its speech, seconds and segments."""
    table = Table(box=None, title=Text(_title(found)), title_justify="left", padding=(0, 2, 0, 0))
    voices = [summary for summary in found.summaries if summary.scope == "voice" and summary.segments]
    named = any(summary.voice for summary in voices)
    for heading in (*(["voice"] if named else []), "emotion", "mean", "thirds", "share of speech"):
        table.add_column(heading)
    for heading in ("seconds", "segments"):
        table.add_column(heading, justify="right")
    counts = Counter((voice(segment), segment.label) for segment in found.segments)
    for summary in voices:
        for place, each in enumerate(summary.main()):
            share = each.share or 0.0
            table.add_row(
                *([summary.voice if place == 0 else ""] if named else []),
                each.label,
                f"{each.mean or 0:.0%}",
                " ".join("-" if mean is None else f"{mean:.0%}" for mean in each.thirds),
                Text.assemble((bar(share), "blue"), f" {share:6.1%}"),
                f"{share * summary.speech:.1f}",
                str(counts[summary.voice, each.label]),
            )
    return table


def summary_lines(summary: Summary) -> list[str]:
    """Say in lines what the longest stretch of one emotion is, what has changed most, and where the peaks are."""
    answers = summary.main()
    if not answers:
        return []
    name = summary.voice or "the recording"
    longest = max(answers, key=lambda each: each.longest.speech if each.longest else 0.0)
    assert longest.longest is not None
    stretch = longest.longest
    times = f"{clock(stretch.start)} - {clock(stretch.end)}"
    lines = ["", f"{name}: longest stretch {longest.label}, {times}, {amount(stretch.speech)} of speech"]
    changed = max(summary.emotions, key=lambda each: abs(each.trend or 0.0))
    if abs(changed.trend or 0.0) >= _CHANGED:
        first, _, last = (f"{mean or 0:.0%}" for mean in changed.thirds)
        lines.append(f"  {changed.label} changed most: {first} in the first third, {last} in the last")
    for each in answers:
        if (peak := each.peak) is not None:
            who = f" {peak.voice}" if summary.scope == "recording" and peak.voice else ""
            said = f": {peak.transcript}" if peak.transcript else ""
            lines.append(
                f"  peak of {each.label} {peak.probability:.0%} at {clock(peak.start)} - {clock(peak.end)}{who}{said}"
            )
    return lines


def _title(found: Timeline) -> str:
    counts = counted(len(found.segments), "segment") if found.segments else "no segments of speech"
    nothing = f", none in {' and '.join(found.silent)}" if found.segments and found.silent else ""
    return f"{found.recording}: {counts} in {amount(found.duration)}{nothing}"


def _name(segment: Prediction) -> str:
    who = voice(segment)
    times = f"{clock(segment_start(segment))} - {clock(segment_end(segment))}"
    return f"{times} {who}" if who else times
