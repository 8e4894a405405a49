"""Segments that others found: diarization, annotation, subtitles, tables."""

import re
from collections.abc import Callable
from html import unescape
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from mmer.errors import MMERError
from mmer.extras import import_extra
from mmer.inference.segmentation import Segment
from mmer.plain_text import lines_of

_SIDES = {"1": "left", "2": "right"}


def read_segments(path: str | Path, recording: str, tiers: list[str] | None = None) -> list[Segment]:
    """Read the segments of a recording.

    Args:
        path: by its suffix, one of
            `.rttm`: SPEAKER lines of the recording, with their speakers; channels 1 and 2 are `left` and `right`;
            `.TextGrid` of Praat: the intervals with text, whose text is the transcript and whose tier the speaker;
            `.csv`: columns `start` and `end` in seconds, and, where they are, `speaker`, `transcript` and `channel`;
            `.srt`, `.vtt`: subtitles, whose words are the transcript, and in WebVTT whose voice is the speaker.
        recording: path or name of the recording, for files about several.
        tiers: of a TextGrid, these alone; all by default.

    Returns:
        In order of their start.

    Raises:
        MMERError: no such file, another suffix, nothing in it, or something in it that is no segment.
        MissingExtraError: a TextGrid needs praatio.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise MMERError(f"{path}: no file of segments; its name must end in one of {', '.join(_READERS)}")
    if not path.is_file():
        raise MMERError(f"{path}: no such file of segments")
    try:
        segments = _READERS[suffix](path, recording, tiers or [])
    except UnicodeDecodeError as error:
        raise MMERError(
            f"{path}: is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None
    if not segments:
        raise MMERError(f"{path}: holds no segments")
    for segment in segments:
        if not (isfinite(segment.start) and isfinite(segment.end)):
            raise MMERError(
                f"{path}: a segment from {segment.start} s to {segment.end} s; give numbers of seconds"
            )
    return sorted(segments, key=lambda segment: segment.start)


def _read_rttm(path: Path, recording: str, tiers: list[str]) -> list[Segment]:
    found: dict[str, list[Segment]] = {}
    for number, line in enumerate(lines_of(path.read_text(encoding="utf-8-sig")), 1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            name, channel, start, length, speaker = fields[1], fields[2], *map(float, fields[3:5]), fields[7]
        except (IndexError, ValueError):
            expected = "SPEAKER FILE CHANNEL START LENGTH <NA> <NA> SPEAKER <NA> <NA>"
            raise MMERError(f"{path}, line {number}: found {line.strip()!r}; expected {expected}") from None
        speaker = None if speaker == "<NA>" else speaker
        segment = Segment(start, start + length, _SIDES.get(channel, "mix"), speaker)
        found.setdefault(name, []).append(segment)
    stem = rttm_name(recording)
    if len(found) > 1 and stem not in found:
        names = ", ".join(sorted(found)[:5])
        raise MMERError(f"{path}: is about several recordings ({names}, …), and none is called {stem}")
    return found.get(stem) or [segment for segments in found.values() for segment in segments]


def rttm_name(recording: str) -> str:
    """What an RTTM file calls a recording: its name without folder and suffix, in one word."""
    return re.sub(r"\s+", "_", Path(recording).stem)


def _read_textgrid(path: Path, recording: str, tiers: list[str]) -> list[Segment]:
    textgrid: Any = import_extra("praatio.textgrid", f"{path}: a TextGrid", "annotation")
    errors: Any = import_extra("praatio.utilities.errors", f"{path}: a TextGrid", "annotation")
    try:
        grid = textgrid.openTextgrid(str(path), False, "silence", "rename")
    except UnicodeDecodeError:
        raise
    except (errors.PraatioException, ValueError, IndexError, KeyError, AssertionError) as error:
        raise MMERError(f"{path}: is no TextGrid that can be read ({' '.join(str(error).split())})") from None
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
    try:
        table = pd.read_csv(path, dtype=str, encoding="utf-8-sig", keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise MMERError(f"{path}: is no CSV table ({' '.join(str(error).split())})") from None
    missing = {"start", "end"} - set(table.columns)
    if missing:
        found = ", ".join(map(str, table.columns))
        raise MMERError(
            f"{path}: has no column {min(missing)}; found {found}; start and end in seconds are needed"
        )
    try:
        times = table[["start", "end"]].astype(float)
    except ValueError as error:
        raise MMERError(f"{path}: start and end must be seconds ({error})") from None
    return [
        Segment(
            start,
            end,
            row.get("channel") or "mix",
            row.get("speaker") or None,
            row.get("transcript") or None,
        )
        for (start, end), row in zip(times.itertuples(index=False), table.to_dict("records"), strict=True)
    ]


def _read_subtitles(path: Path, recording: str, tiers: list[str]) -> list[Segment]:
    # Imported here, so that the command line starts without it.
    import webvtt
    from webvtt.errors import MalformedCaptionError, MalformedFileError

    is_srt = path.suffix.lower() == ".srt"
    try:
        captions = webvtt.from_srt(str(path)) if is_srt else webvtt.read(str(path))
    except (MalformedFileError, MalformedCaptionError) as error:
        kind = "SubRip" if is_srt else "WebVTT"
        reason = " ".join(str(error).split()) or "malformed"
        raise MMERError(f"{path}: is no {kind} file that can be read ({reason})") from None
    segments = []
    for caption in captions:
        words = " ".join((caption.text if is_srt else unescape(caption.text)).split())
        start, end = (time.in_milliseconds() / 1000 for time in (caption.start_time, caption.end_time))
        segments.append(Segment(start, end, speaker=caption.voice, transcript=words or None))
    return segments


_READERS: dict[str, Callable[[Path, str, list[str]], list[Segment]]] = {
    ".rttm": _read_rttm,
    ".textgrid": _read_textgrid,
    ".csv": _read_csv,
    ".srt": _read_subtitles,
    ".vtt": _read_subtitles,
}
