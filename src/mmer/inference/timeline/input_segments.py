"""Reading of given segments from diarization, annotation, subtitles and tables."""

import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import Any

from mmer.audio.mixdown import channel_name
from mmer.audio.speech_segments import Segment
from mmer.corpora.delimited import read_delimited
from mmer.corpora.tables import NAMES, brief, with_points
from mmer.errors import MMERError, reading
from mmer.extras import import_extra
from mmer.plain_text import lines_of, valid
from mmer.text.names import header, tidy


def read_segments(path: str | Path, recording: str, tiers: list[str] | None = None) -> list[Segment]:
    """Read the segments of a recording.

    Args:
        path: a file with one of these suffixes
            `.rttm`: SPEAKER lines of the recording, with their speakers; channels are `left`, `right`, `3`, …;
            `.TextGrid` of Praat: intervals with text; the text is the transcript, the tier the speaker;
            `.csv`: columns `start` and `end` in seconds, and optionally `channel`, and `speaker` and `transcript` by
            any of their `NAMES` in corpora;
            `.srt`, `.vtt`: subtitles, whose text is the transcript; in WebVTT, the voice is the speaker.
        recording: path or name of the recording, for files about several.
        tiers: tiers of a TextGrid to read; all by default.

    Returns:
        Segments sorted by start.

    Raises:
        MMERError: the file does not exist, has another suffix, is empty, or holds an entry that is no segment.
        MissingExtraError: a TextGrid needs praatio.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise MMERError(f"{path}: no file of segments; its name must end in one of {', '.join(_READERS)}")
    if not path.is_file():
        raise MMERError(f"{path}: no such file of segments")
    with reading(path, _READERS[suffix][0], MMERError):
        segments = _READERS[suffix][1](path, recording, tiers or [])
    if not segments:
        raise MMERError(f"{path}: holds no segments")
    for segment in segments:
        if not (isfinite(segment.start) and isfinite(segment.end)):
            raise MMERError(
                f"{path}: a segment from {segment.start} s to {segment.end} s; give numbers of seconds"
            )
    named = (replace(segment, speaker=tidy(segment.speaker or "") or None) for segment in segments)
    return sorted(named, key=lambda segment: segment.start)


def _read_rttm(path: Path, recording: str, tiers: list[str]) -> list[Segment]:
    found: dict[str, list[Segment]] = {}
    for number, line in enumerate(lines_of(path.read_text(encoding="utf-8-sig")), 1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        if (read := _rttm_fields(fields)) is None:
            expected = "SPEAKER FILE CHANNEL START LENGTH <NA> <NA> SPEAKER <NA> <NA>"
            raise MMERError(f"{path}, line {number}: found {line.strip()!r}; expected {expected}")
        name, channel, start, length, speaker = read
        segment = Segment(start, start + length, _channel(channel), speaker)
        found.setdefault(name, []).append(segment)
    stem = rttm_name(recording)
    if len(found) > 1 and stem not in found:
        names = ", ".join(sorted(found)[:5])
        raise MMERError(f"{path}: is about several recordings ({names}, …), and none is called {stem}")
    return found.get(stem) or [segment for segments in found.values() for segment in segments]


def _rttm_fields(fields: list[str]) -> tuple[str, str, float, float, str | None] | None:
    """Parse name, channel, start, length and speaker of a SPEAKER line, whose names may contain spaces.

    Return None if the line is malformed or ambiguous.
    """
    ways: list[tuple[bool, int]] = []
    for place in range(2, len(fields) - 5):
        channel, start, length, words = fields[place : place + 4]
        is_channel = channel.isdecimal() or channel == "<NA>"
        if is_channel and _is_seconds(start) and _is_seconds(length):
            ways.append((words == "<NA>", place))
    if sum(usual for usual, _ in ways) == 1:
        ways = [way for way in ways if way[0]]
    if len(ways) != 1:
        return None
    place = ways[0][1]
    name, who = "_".join(fields[1:place]), fields[place + 5 :]
    for _ in range(2):  # confidence and look-ahead time, both optional
        if len(who) > 1 and (who[-1] == "<NA>" or _is_seconds(who[-1])):
            who = who[:-1]
    start, length = float(fields[place + 1]), float(fields[place + 2])
    return tidy(name), fields[place], start, length, None if who == ["<NA>"] else " ".join(who)


def _channel(number: str) -> str:
    return channel_name(int(number) - 1) if number.isdecimal() and int(number) else "mix"


def _is_seconds(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d*)?([eE][-+]?\d+)?|\.\d+", text) is not None


def rttm_name(recording: str) -> str:
    """Return the name of a recording in an RTTM file: its stem, in one word."""
    return valid(tidy(Path(recording).stem)).replace(" ", "_")


def _read_textgrid(path: Path, recording: str, tiers: list[str]) -> list[Segment]:
    textgrid: Any = import_extra("praatio.textgrid", f"{path}: a TextGrid", "annotation")
    grid = textgrid.openTextgrid(str(path), False, "silence", "rename")
    names = [tier.name for tier in grid.tiers if isinstance(tier, textgrid.IntervalTier)]
    for name in tiers:
        if name not in names:
            raise MMERError(f"{path}: has no interval tier {name!r}; it has {', '.join(names)}")
    return [
        Segment(start, end, speaker=name, transcript=" ".join(text.split()))
        for name in tiers or names
        for start, end, text in grid.getTier(name).entries
        if text.strip()
    ]


def _read_csv(path: Path, recording: str, tiers: list[str]) -> list[Segment]:
    cells, commas_are_decimal = read_delimited(path)
    columns = {header(name): values for name, values in cells.items()}
    if missing := {"start", "end"} - set(columns):
        found = ", ".join(cells)
        raise MMERError(
            f"{path}: has no column {min(missing)}; found {found}; start and end in seconds are needed"
        )
    times = {}
    for name in ("start", "end"):
        values = with_points(columns[name]) if commas_are_decimal else columns[name]
        times[name] = [_seconds(path, name, row, value) for row, value in enumerate(values, 1)]
    nothing = [None] * len(times["start"])
    names = (("channel",), NAMES["speaker"], NAMES["transcript"])
    rest = (next((columns[name] for name in each if name in columns), nothing) for each in names)
    return [
        Segment(start, end, channel or "mix", speaker, transcript or None)
        for start, end, channel, speaker, transcript in zip(times["start"], times["end"], *rest, strict=True)
    ]


def _seconds(path: Path, name: str, row: int, value: str | None) -> float:
    try:
        return float(value or "")
    except ValueError:
        found = "empty" if value is None else brief(value)
        raise MMERError(f"{path}: {name} is {found} in row {row}; start and end must be seconds") from None


def _read_subtitles(path: Path, recording: str, tiers: list[str]) -> list[Segment]:
    # Imported here, so that the command line starts faster.
    import webvtt

    is_srt = path.suffix.lower() == ".srt"
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    count = 0
    for number, line in enumerate(lines):
        if "-->" not in line:
            continue
        if CUE_TIMES.match(line):
            count += 1
            lines[number] = re.sub(r"(?<=:\d\d),(?=\d)", ".", line)
        elif _times_belong(lines[max(number - 2, 0) : number]):
            raise MMERError(f"{path}, line {number + 1}: {brief(line)} are no times of a subtitle")
        elif not is_srt:  # WebVTT has no bare arrow in words
            lines[number] = line.replace("-->", "--&gt;")
    captions = webvtt.from_buffer(StringIO("\n".join(lines)), "srt" if is_srt else "vtt")
    if len(captions) != count:
        found = f"{len(captions)} of its {count} subtitles can be read"
        raise MMERError(
            f"{path}: {found}; each needs its times on a line of their own, and an empty line before it"
        )
    segments = []
    for caption in captions:
        words = " ".join((caption.text if is_srt else unescape(caption.text)).split())
        start, end = (time.in_milliseconds() / 1000 for time in (caption.start_time, caption.end_time))
        segments.append(Segment(start, end, speaker=unescape(caption.voice or ""), transcript=words or None))
    return segments


def _times_belong(above: list[str]) -> bool:
    """Whether the times of a subtitle are expected below these two lines, rather than its words."""
    before, last = ["", "", *above][-2:]
    follows_number = not last.strip() or last.strip().isdigit()
    return follows_number or (not before.strip() and "-->" not in last)


_CUE_TIME = r"(?:\d+:)?\d{1,2}:\d{1,2}[.,]\d{1,3}"
CUE_TIMES = re.compile(rf"\s*{_CUE_TIME}\s*-->\s*{_CUE_TIME}")
_READERS: dict[str, tuple[str, Callable[[Path, str, list[str]], list[Segment]]]] = {
    ".rttm": ("RTTM", _read_rttm),
    ".textgrid": ("TextGrid", _read_textgrid),
    ".csv": ("CSV", _read_csv),
    ".srt": ("SubRip", _read_subtitles),
    ".vtt": ("WebVTT", _read_subtitles),
}
