"""Timelines in file formats of programs for annotation, editing and subtitles."""

import html
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmer.errors import MMERError
from mmer.extras import import_extra
from mmer.files.writing import check_output_file
from mmer.inference.prediction import Prediction
from mmer.inference.timeline.input_segments import CUE_TIMES, rttm_name
from mmer.inference.timeline.plot import PICTURES
from mmer.inference.timeline.segments import voice
from mmer.plain_text import shown, valid

Tiers = dict[str, list[tuple[float, float, str]]]
_CHANNEL_NUMBERS = {"mix": "1", "left": "1", "right": "2"}
SUFFIXES = (".json", ".csv", ".html", ".srt", ".vtt", ".textgrid", ".eaf", ".txt", ".rttm", *PICTURES)
_PACKAGES = {".textgrid": "praatio", ".eaf": "pympi"}
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def check_timeline_output(path: Path, inputs: Iterable[str | Path] = ()) -> None:
    """Check in advance whether `Timeline.write` can write there.

    Args:
        path: see `Timeline.write`.
        inputs: files and folders that are read, and must not be overwritten.

    Raises:
        MMERError: the suffix is unknown, the file cannot be written, or it is an input.
        MissingExtraError: the format needs a package that is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise MMERError(
            f"cannot write a timeline to {path}: its name must end in one of {', '.join(SUFFIXES)}"
        )
    check_output_file(path, inputs)
    check_package(suffix)


def check_package(suffix: str) -> None:
    """Check that what writes files with this suffix is installed.

    Raises:
        MissingExtraError: it is not.
    """
    if suffix in _PACKAGES:
        import_extra(_PACKAGES[suffix], f"a {suffix} file", "annotation")


def write_segments(
    segments: Sequence[Prediction], path: Path, suffix: str, *, recording: str, duration: float
) -> None:
    """Write the segments of a timeline in a format of annotation, editing or subtitle programs.

    Each segment has its emotion, its confidence and its transcript, or the reason why there is no answer. Segments that
    do not end after they start are left out.

    `.srt`, `.vtt`: a subtitle for each segment, the emotion on the first line, the words on the second; in WebVTT, the
    speaker is the voice. `.textgrid` (Praat), `.eaf` (ELAN): for each speaker a tier of emotions and one of words, and
    further ones where segments overlap. `.txt`: labels of Audacity. `.rttm`: SPEAKER lines whose subtype is the
    emotion.

    Args:
        segments: segments sorted by start.
        path: the file to write.
        suffix: one of the suffixes above.
        recording: path or name of the recording.
        duration: duration of the recording in seconds.
    """
    if suffix == ".textgrid":
        _write_textgrid(segments, path, duration)
    elif suffix == ".eaf":
        _write_eaf(segments, path, recording)
    elif suffix == ".rttm":
        _write_rttm(segments, path, recording)
    else:
        {".srt": _write_srt, ".vtt": _write_vtt, ".txt": _write_audacity}[suffix](segments, path)


def _shown(segments: Sequence[Prediction]) -> Iterator[tuple[float, float, Prediction]]:
    """Return start and end in seconds, rounded to milliseconds."""
    for segment in segments:
        start, end = round(max(segment.start or 0.0, 0.0), 3), round(segment.end or 0.0, 3)
        if start < end:
            yield start, end, segment


def _tiers(segments: Sequence[Prediction]) -> Tiers:
    """Assign intervals to tiers without overlap."""
    tiers: Tiers = {}
    last: dict[str, float] = {}  # end of the last interval of each tier
    for start, end, segment in _shown(segments):
        who, number = _on_one_line(voice(segment)), 1
        while last.get(base := f"{who} {number}".strip() if number > 1 else who, 0.0) > start:
            number += 1
        last[base] = end
        tiers.setdefault(f"{base} emotion".strip(), []).append((start, end, _on_one_line(segment.answer)))
        if words := _on_one_line(segment.transcript or ""):
            tiers.setdefault(f"{base} words".strip(), []).append((start, end, words))
    return tiers


def _on_one_line(text: str) -> str:
    return " ".join(shown(text).split())


def _captions(
    segments: Sequence[Prediction], line: Callable[[str], str]
) -> Iterator[tuple[float, float, str, list[str]]]:
    for start, end, segment in _shown(segments):
        texts = [segment.answer, segment.transcript or ""]
        yield start, end, voice(segment), [line(_on_one_line(text)) for text in texts if text.strip()]


def _write_srt(segments: Sequence[Prediction], path: Path) -> None:
    blocks = []
    for number, (start, end, who, lines) in enumerate(_captions(segments, str), 1):
        times = f"{_clock(start, ',')} --> {_clock(end, ',')}"
        first = f"{_on_one_line(who)}: {lines[0]}" if who else lines[0]
        blocks.append("\n".join([str(number), times, *map(_no_times, [first, *lines[1:]])]) + "\n")
    path.write_text("\n".join(blocks), encoding="utf-8", newline="\n")


def _no_times(line: str) -> str:
    """Keep words from being read as the times of a subtitle; SubRip has no way to escape them."""
    return line.replace("-->", "->") if CUE_TIMES.match(line) else line


def _write_vtt(segments: Sequence[Prediction], path: Path) -> None:
    # webvtt-py does not escape captions, so it would replace little of this.
    blocks = ["WEBVTT\n"]
    for start, end, who, lines in _captions(segments, lambda text: html.escape(text, quote=False)):
        span = f"<v {html.escape(_on_one_line(who), quote=False)}>" if who else ""
        blocks.append(
            "\n".join([f"{_clock(start, '.')} --> {_clock(end, '.')}", span + lines[0], *lines[1:]]) + "\n"
        )
    path.write_text("\n".join(blocks), encoding="utf-8", newline="\n")


def _clock(seconds: float, mark: str) -> str:
    """Format seconds as hours, minutes, seconds and milliseconds."""
    rest, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}{mark}{milliseconds:03d}"


def _write_textgrid(segments: Sequence[Prediction], path: Path, duration: float) -> None:
    textgrid: Any = import_extra("praatio.textgrid", "a TextGrid", "annotation")
    tiers = _tiers(segments) or {"emotion": []}
    ends = [end for intervals in tiers.values() for _, end, _ in intervals]
    length = max([duration, *ends])
    grid = textgrid.Textgrid(0, length)
    for name, intervals in tiers.items():
        grid.addTier(textgrid.IntervalTier(name, intervals, 0, length))
    grid.save(str(path), "long_textgrid", includeBlankSpaces=True, minimumIntervalLength=None)


def _write_eaf(segments: Sequence[Prediction], path: Path, recording: str) -> None:
    elan: Any = import_extra("pympi.Elan", "an ELAN file", "annotation")
    document = elan.Eaf(author="mmer")
    document.remove_tier("default")
    if Path(recording).is_file():
        file = Path(recording).resolve()
        kinds = {".wav": "audio/x-wav", ".mp4": "video/mp4", ".m4a": "audio/mp4", ".mp3": "audio/mpeg"}
        kind = kinds.get(file.suffix.lower(), "unknown")
        document.add_linked_file(file.as_uri(), relpath=_in_xml(valid(file.name)), mimetype=kind)
    for name, intervals in (_tiers(segments) or {"emotion": []}).items():
        tier = _in_xml(name)
        document.add_tier(tier)
        for start, end, text in intervals:
            document.add_annotation(tier, round(start * 1000), round(end * 1000), _in_xml(text))
    declaration = '<?xml version="1.0" encoding="UTF-8"?>\n'
    path.write_text(declaration + elan.to_string(document), encoding="utf-8", newline="\n")


def _in_xml(text: str) -> str:
    """Replace the characters that XML cannot hold, not even escaped."""
    return _NOT_IN_XML.sub("\ufffd", text)


def _write_audacity(segments: Sequence[Prediction], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for start, end, segment in _shown(segments):
            texts = [voice(segment), segment.answer, segment.transcript or ""]
            label = " | ".join(_on_one_line(text) for text in texts if text.strip())
            print(f"{start:.6f}\t{end:.6f}\t{label}", file=file)


def _write_rttm(segments: Sequence[Prediction], path: Path, recording: str) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for start, end, segment in _shown(segments):
            number = _CHANNEL_NUMBERS.get(segment.channel, segment.channel)
            confidence = "<NA>" if segment.confidence is None else f"{segment.confidence:.4f}"
            label, who = (
                _in_one_word(segment.label or "") or "<NA>",
                _in_one_word(voice(segment)) or "speaker",
            )
            times = f"{start:.3f} {end - start:.3f}"
            name = rttm_name(recording) or "recording"
            print(f"SPEAKER {name} {number} {times} <NA> {label} {who} {confidence} <NA>", file=file)


def _in_one_word(text: str) -> str:
    return "_".join(_on_one_line(text).split())
