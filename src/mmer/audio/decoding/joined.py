"""Find the recordings in a file that was joined from several, as `cat a.ogg b.ogg` joins them.

Libraries read the first of them, or all of them at the rate of one. Each is therefore opened by itself. Where each
begins is known from its first bytes; in WAV, AIFF, AU, CAF, W64, MP4 and Matroska from the sizes that are stated, and
in MP3 and AAC from the headers of the frames, whose rate may change midway too.
"""

import io
import os
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import BinaryIO, TypeAlias

from mmer.errors import AudioError

Span: TypeAlias = tuple[int, int]
"""Where a recording begins in a file and how many bytes it has."""

_MOST = 1000  # recordings in a file; more is damage
_PIECE = 1 << 20  # bytes, read at a time
_LONGEST_HEAD = 64  # bytes, more than any pattern below matches
_OGG = re.compile(rb"OggS\x00[\x02\x06].{20}(.)", re.DOTALL)  # the first page of a stream, and its segments
_HEADS = [
    re.compile(rb"fLaC[\x00\x80]\x00\x00\x22"),
    re.compile(rb"#!AMR(?:-WB)?(?:_MC1\.0)?\n"),
    re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"),  # ASF
    re.compile(rb"FLV\x01[\x01\x04\x05]\x00\x00\x00\x09\x00\x00\x00\x00"),
    re.compile(rb"TTA1[\x01\x02]\x00"),
    re.compile(rb"MAC [\x00-\xff]\x0f"),  # Monkey's Audio
]
_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_SIZED = {b"WAVE", b"AVI ", b"AIFF", b"AIFC"}


class Slice(io.RawIOBase):
    """A part of an open file, as a file.

    It has every method of a binary file that is read. Callers cast it to `BinaryIO`, which is no protocol, so that only
    the classes of the standard library count as one.
    """

    def __init__(self, file: BinaryIO, span: Span) -> None:
        super().__init__()
        self._file, (self._begin, self._size) = file, span
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    # The base class takes any buffer; its readers in the standard library all pass a memoryview.
    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._file.seek(self._begin + self._at)
        data = self._file.read(max(min(len(buffer), self._size - self._at), 0))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise OSError("position before the beginning")
        self._at = origin + offset
        return self._at

    def tell(self) -> int:
        return self._at


def find_joined(file: BinaryIO, name: str) -> tuple[Span, ...]:
    """Find the recordings in a file, in order; a file that was not joined holds one.

    Raises:
        AudioError: there are more than 1000.
    """
    size = file.seek(0, os.SEEK_END)
    begins = [0]
    for begin in _begins(file, size):
        if begin > begins[-1]:
            begins.append(begin)
        if len(begins) > _MOST:
            raise AudioError(f"{name}: corrupt, or joined from more than {_MOST} recordings; cut it")
    return tuple((begin, end - begin) for begin, end in pairwise([*begins, size]))


def lacks_size(file: BinaryIO) -> bool:
    """Tell whether a WAV file states no samples but has some, as after its writer was killed."""
    size = file.seek(0, os.SEEK_END)
    head = _at(file, 0, 12)
    if head[:4] not in (b"RIFF", b"RIFX") or head[8:] != b"WAVE":
        return False
    order = "little" if head[:4] == b"RIFF" else "big"
    position = 12
    for _ in range(_MOST):
        chunk = _at(file, position, 12)
        length = int.from_bytes(chunk[4:8], order)
        if chunk[:4] == b"data":
            another = len(chunk) == 12 and re.fullmatch(rb"[A-Za-z][\w ]{3}", chunk[8:])
            return not length and position + 8 < size and not another
        if len(chunk) < 8:
            break
        position += 8 + length + length % 2
    return False


def _begins(file: BinaryIO, size: int) -> Iterator[int]:
    head = _at(file, 0, 64)
    if head[:4] == b"OggS":
        yield from _ogg(file)
    elif head[:4] in (b"RIFF", b"RIFX", b"RF64", b"FORM") and head[8:12] in _SIZED:
        yield from _sized(file, _riff_size)
    elif head[:4] == b".snd":
        yield from _sized(file, _au_size)
    elif head[:16] == _W64:
        yield from _sized(file, _w64_size)
    elif head[:4] == b"caff":
        yield from _caf(file)
    elif head[4:8] == b"ftyp":
        yield from _mp4(file)
    elif head[:4] == b"\x1a\x45\xdf\xa3":
        yield from _sized(file, _matroska_size)
    elif head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0"):
        yield from _frames(file, size)
    else:
        pattern = next((pattern for pattern in _HEADS if pattern.match(head)), None)
        if pattern:
            yield from (position for position, _ in _matches(file, pattern))


def _at(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    return file.read(length)


def _matches(file: BinaryIO, pattern: re.Pattern[bytes]) -> Iterator[tuple[int, re.Match[bytes]]]:
    """Find the positions of a pattern in a file, with one piece of the file in memory at a time."""
    position, before = 0, b""
    while data := _at(file, position, _PIECE):
        text = before + data
        for match in pattern.finditer(text):
            if match.end() > len(before):
                yield position - len(before) + match.start(), match
        position += len(data)
        before = text[-_LONGEST_HEAD:]


def _ogg(file: BinaryIO) -> Iterator[int]:
    """Find the recordings in an Ogg file: streams that begin together are one, later streams another."""
    expected = 0
    for position, match in _matches(file, _OGG):
        if position != expected:
            yield position
        segments = match[1][0]
        expected = position + 27 + segments + sum(_at(file, position + 27, segments))


def _sized(file: BinaryIO, size_of: Callable[[BinaryIO, int], int | None]) -> Iterator[int]:
    """Find recordings that state their size, as long as another of the same kind follows."""
    position = 0
    while size := size_of(file, position):
        yield position
        position += size


def _riff_size(file: BinaryIO, position: int) -> int | None:
    head = _at(file, position, 12)
    if head[:4] == b"RF64" and head[8:] == b"WAVE":
        return 8 + int.from_bytes(_at(file, position + 20, 8), "little")
    if head[:4] not in (b"RIFF", b"RIFX", b"FORM") or head[8:] not in _SIZED:
        return None
    size = int.from_bytes(head[4:8], "little" if head[:4] == b"RIFF" else "big")
    end = position + 8 + size
    if size % 2 and _at(file, end, 4) != head[:4]:  # not all programs make it even
        end += 1
    while head[8:] == b"AVI " and _at(file, end, 12)[8:] == b"AVIX":  # in these a long AVI goes on
        size = int.from_bytes(_at(file, end + 4, 4), "little")
        end += 8 + size + size % 2
    return end - position


def _au_size(file: BinaryIO, position: int) -> int | None:
    head = _at(file, position, 12)
    begin, size = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:], "big")
    return begin + size if head[:4] == b".snd" and size != 0xFFFF_FFFF else None


def _w64_size(file: BinaryIO, position: int) -> int | None:
    head = _at(file, position, 24)
    size = int.from_bytes(head[16:], "little")
    return size + -size % 8 if head[:16] == _W64 else None


def _caf(file: BinaryIO) -> Iterator[int]:
    position = 0
    while len(chunk := _at(file, position, 12)) == 12:
        if chunk[:4] == b"caff":
            yield position
            position += 8
            continue
        size = int.from_bytes(chunk[4:], "big", signed=True)
        if size < 0:  # to the end of the file
            return
        position += 12 + size


def _mp4(file: BinaryIO) -> Iterator[int]:
    """Find the recordings in an MP4 file: each begins with `ftyp` and has a table of contents (`moov`)."""
    begin, has_contents, position = 0, False, 0
    while len(box := _at(file, position, 16)) >= 8:
        size, kind = int.from_bytes(box[:4], "big"), box[4:8]
        if size == 1:
            size = int.from_bytes(box[8:], "big")
        if kind == b"ftyp" and has_contents:
            begin, has_contents = position, False
        if kind == b"moov" and not has_contents:
            has_contents = True
            yield begin
        if size < 8:  # to the end of the file
            return
        position += size


def _matroska_size(file: BinaryIO, position: int) -> int | None:
    begin = position
    for expected in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"):  # the head, then the segment
        data = _at(file, position, 12)
        if data[:4] != expected or len(data) < 12 or not data[4]:
            return None
        length = 9 - data[4].bit_length()
        unknown = (1 << 7 * length) - 1
        size = int.from_bytes(data[4 : 4 + length], "big") & unknown
        if size == unknown:  # of a live stream
            return None
        position += 4 + length + size
    return position - begin


_BIT_RATES = {  # kbit/s, by version and layer as headers of MPEG audio number them
    (3, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (3, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 3): (0, *range(32, 449, 32)),
    (2, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_SYNC = re.compile(rb"\xff[\xe0-\xff]|ID3[\x02-\x04]")
_NAME_OF_FIRST = (13, 21, 36)  # where the first frame of an MP3 may say that it states the length
_TAG = 256  # bytes, more than a tag at the end of an MP3 has that is not counted
_SEARCHED = 1 << 20  # bytes in all that are searched for the next frame where there is none


def _frames(file: BinaryIO, size: int) -> Iterator[int]:
    """Find recordings in frames: one begins where settings change, or at a frame that states a length or its tag."""
    source = _Reader(file)
    position, settings, tag = _after_tag(source, 0), None, None
    searched = 0
    if source.at(position, 4) == b"fLaC" or _states_its_size(source, position, size):
        return
    while position < size:
        frame = _frame(source.at(position, 8))
        if frame is None:
            found = _next_frame(source, position, size)
            searched += _PIECE >> 4
            if found is None or searched > _SEARCHED:
                return
            tag, position = found
            continue
        length, form = frame
        if settings is not None and (form != settings or _is_first(source.at(position, 200))):
            yield position if tag is None else tag
        settings, tag = form, None
        position += length


class _Reader:
    """Short reads at growing positions, out of longer ones."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._begin, self._data = file, 0, b""

    def at(self, position: int, length: int) -> bytes:
        begin = position - self._begin
        if begin < 0 or begin + length > len(self._data):
            self._begin, self._data = position, _at(self._file, position, _PIECE >> 3)
            begin = 0
        return self._data[begin : begin + length]


def _frame(head: bytes) -> tuple[int, tuple[object, ...]] | None:
    """Read the size in bytes of a frame of MPEG audio or AAC, and the settings that its recording shares."""
    if len(head) < 7 or head[0] != 0xFF or head[1] < 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    if layer == 0:
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        if head[1] < 0xF0 or length < 7 or head[2] >> 2 & 15 > 12:
            return None
        return length, ("aac", head[2] & 0xFD, head[3] & 0xC0)
    bit_rate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or bit_rate in (0, 15) or rate == 3:
        return None
    hertz, padding = _RATES[version][rate], head[2] >> 1 & 1
    bits = 1000 * _BIT_RATES[3 if version == 3 else 2, layer][bit_rate]
    if layer == 3:
        length = (12 * bits // hertz + padding) * 4
    else:
        length = (72 if layer == 1 and version != 3 else 144) * bits // hertz + padding
    return length, ("mpeg", version, layer, rate, head[3] >> 6 == 3)


def _is_first(frame: bytes) -> bool:
    return any(frame[at : at + 4] in (b"Xing", b"Info", b"VBRI") for at in _NAME_OF_FIRST)


def _states_its_size(source: _Reader, position: int, size: int) -> bool:
    """Tell whether the first frame states the number of bytes, and the file has no more."""
    frame = source.at(position, 200)
    at = next((at for at in _NAME_OF_FIRST if frame[at : at + 4] in (b"Xing", b"Info")), None)
    if at is None or len(frame) < 200 or frame[at + 7] & 3 != 3:
        return False
    return position + int.from_bytes(frame[at + 12 : at + 16], "big") >= size - _TAG


def _after_tag(source: _Reader, position: int) -> int:
    while (head := source.at(position, 10))[:3] == b"ID3" and len(head) == 10:
        length = 0
        for byte in head[6:]:
            length = length << 7 | byte & 127
        position += 10 + length + (10 if head[5] & 16 else 0)
    return position


def _next_frame(source: _Reader, position: int, size: int) -> tuple[int | None, int] | None:
    """Find the next frame that another frame follows, and the tag before it, if there is one."""
    for match in _SYNC.finditer(source.at(position, _PIECE >> 4)):
        begin = position + match.start()
        first = _after_tag(source, begin)
        frame = _frame(source.at(first, 8))
        if frame and (first + frame[0] >= size or _frame(source.at(first + frame[0], 8))):
            return (begin if first > begin else None), first
    return None
