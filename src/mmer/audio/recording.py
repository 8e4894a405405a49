"""Open a recording with the library that reads its format best.

libsndfile reads WAV, FLAC, Ogg and Opus, FFmpeg (PyAV) everything else. MP3 goes to FFmpeg too: libsndfile
estimates the length of an MP3 without a Xing header and silently stops there (3.4 s of one of 20 s). So does what has
more than two channels, since FFmpeg knows which channel is which.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import FileIO
from itertools import accumulate
from typing import BinaryIO, TypeAlias, cast

import numpy as np
import soundfile
from numpy.typing import NDArray

from mmer.audio.container import MOST_PLANES, ContainerRecording, open_container
from mmer.audio.decoding import AudioInfo, Key, block_length, checked, decoding, truncated
from mmer.audio.joined import Slice, Span, find_joined, lacks_size
from mmer.audio.mixdown import Block
from mmer.errors import AudioError
from mmer.files.regular import open_regular

AudioSource: TypeAlias = str | os.PathLike[str] | BinaryIO
"""A path, or an open binary file that can seek."""

_UNKNOWN_LENGTH = 0x7FFF_0000  # bytes; programs that write WAV to a pipe state this or more
_HEADER = 128  # bytes; programs count the header, of 44 to 80 bytes, among the samples
_UNKNOWN_FRAMES = 1 << 62  # what libsndfile says of a FLAC file without length
_WITH_LAYOUT = {"WAVEX", "FLAC", "OGG", "CAF", "RF64"}  # formats that say which channel is which


class _SequentialFile(soundfile.SoundFile):
    """A file that goes on from where it was: `SoundFile` seeks after every read, which Opus decodes again for."""

    def seekable(self) -> bool:
        return False


class SoundFileRecording:
    """A recording that libsndfile reads."""

    def __init__(self, file: soundfile.SoundFile, name: str) -> None:
        self._file, self._name = file, name
        self._seekable = soundfile.SoundFile.seekable(file)
        self._position = 0
        self.info = checked(AudioInfo(file.samplerate, file.channels, file.frames / file.samplerate), name)
        # libsndfile reads what there is of a WAV file that was cut off, and says so in its log alone.
        sizes = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
        if sizes and int(sizes[2]) + _HEADER < int(sizes[1]) < _UNKNOWN_LENGTH:
            raise truncated(name, f"{sizes[1]} bytes of samples", sizes[2])

    def blocks(self, start: float = 0.0, end: float | None = None) -> Iterator[Block]:
        """Yield the samples from `start` to `end` seconds, or to the last, some seconds at a time."""
        rate, frames = self.info.sampling_rate, self._file.frames
        first = min(round(start * rate), frames)
        last = frames if end is None else min(round(end * rate), frames)
        with decoding(self._name):
            self._go_to(first)
            while self._position < last:
                samples = self._read(last - self._position)
                if not len(samples):
                    found = f"{self._position / rate:.2f} s"
                    raise truncated(self._name, f"{frames / rate:.2f} s", found)
                yield Block(samples.T, rate)

    def _go_to(self, first: int) -> None:
        if first != self._position and self._seekable:
            self._position = self._file.seek(first)
        if first < self._position:
            raise AudioError(f"{self._name}: can only be read from the beginning")
        while self._position < first and len(self._read(first - self._position)):
            pass

    def _read(self, frames: int) -> NDArray[np.float32]:
        """Read (samples, channels), at most a block of them."""
        frames = min(frames, block_length(self.info.sampling_rate, self.info.channels))
        samples = self._file.read(frames, dtype="float32", always_2d=True)
        self._position += len(samples)
        return cast(NDArray[np.float32], samples)  # soundfile does not say that the type is `dtype`


class JoinedRecording:
    """Several recordings in one file, read one after another."""

    def __init__(self, file: BinaryIO, name: str, spans: tuple[Span, ...], key: "Key | None") -> None:
        self._file, self._name, self._spans, self._key = file, name, spans, key
        infos = []
        for number in range(len(spans)):
            with self._part(number) as part:
                infos.append(part.info)
        self._ends = list(accumulate(info.duration for info in infos))
        self.info = AudioInfo(infos[0].sampling_rate, max(info.channels for info in infos), self._ends[-1])

    def blocks(self, start: float = 0.0, end: float | None = None) -> Iterator[Block]:
        """Yield the samples from `start` to `end` seconds, or to the last; each recording at its own rate."""
        begin = 0.0
        for number, until in enumerate(self._ends):
            if start < until and (end is None or end > begin):
                with self._part(number) as part:
                    inside = None if end is None or end >= until else end - begin
                    yield from part.blocks(max(start - begin, 0.0), inside)
            begin = until

    @contextmanager
    def _part(self, number: int) -> "Iterator[SoundFileRecording | ContainerRecording]":
        span = self._spans[number]
        name = f"{self._name}: part {number + 1} of {len(self._spans)}"
        key = self._key and (*self._key[:3], span)
        file = cast(BinaryIO, Slice(self._file, span))  # see Slice
        with _open_one(file, name, key) as part:
            yield part


Recording: TypeAlias = SoundFileRecording | ContainerRecording | JoinedRecording


@contextmanager
def open_recording(source: AudioSource) -> Iterator[Recording]:
    """Open a recording by what it holds, whatever its suffix says.

    Raises:
        AudioError: no such file, a folder, a pipe or a device, not audio, truncated or corrupt, of less than 1 or
            more than 768 kHz or of more than 32 channels; also while it is read inside the `with` block.
    """
    name = source_name(source)
    if not isinstance(source, str | os.PathLike):
        if not source.seekable():
            raise AudioError(f"{name}: cannot seek; read it into memory first (io.BytesIO)")
        with _open(source, name, None) as recording:
            yield recording
        return
    with open_regular(source) as file:
        status = os.fstat(file.fileno())
        key = (os.fspath(source), status.st_mtime_ns, status.st_size, (0, status.st_size))
        with _open(file, name, key) as recording:
            yield recording


def source_name(source: AudioSource) -> str:
    """Return the name by which errors call a recording."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "audio stream"


@contextmanager
def _open(file: BinaryIO, name: str, key: Key | None) -> Iterator[Recording]:
    with decoding(name):
        _check_head(file, name)
        spans = find_joined(file, name) if key is None else _joined_in_file(key)
        joined = JoinedRecording(file, name, spans, key) if len(spans) > 1 else None
    if joined:
        yield joined
    else:
        with _open_one(file, name, key) as recording:
            yield recording


@contextmanager
def _open_one(
    file: BinaryIO, name: str, key: Key | None
) -> Iterator[SoundFileRecording | ContainerRecording]:
    with decoding(name):
        sound_file = _open_sound_file(file)
        container = None if sound_file else open_container(file, name)
    try:
        with decoding(name):
            if sound_file:
                recording = SoundFileRecording(sound_file, name)
            else:
                assert container is not None
                recording = ContainerRecording(container, name, key)
        yield recording
    finally:
        if sound_file:
            sound_file.close()
        if container:
            container.close()


def _open_sound_file(file: BinaryIO) -> soundfile.SoundFile | None:
    """Open a file with libsndfile; None for a format that FFmpeg reads."""
    head = _head(file, 4)
    if head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0"):  # MP3 or AAC
        return None
    file.seek(0)
    # By its number, libsndfile reads a file without a detour through Python.
    source = file.fileno() if isinstance(file, FileIO) else file
    try:
        sound_file = _SequentialFile(source, closefd=False)
    except soundfile.LibsndfileError as error:
        # Code 3: a format that libsndfile knows, malformed. It says so too of sound Ogg files of less than a second,
        # which FFmpeg writes as a single page.
        if error.code == 3 and head != b"OggS":
            raise
        return None
    if _is_for_container(sound_file, file):
        sound_file.close()
        return None
    return sound_file


def _is_for_container(sound_file: soundfile.SoundFile, file: BinaryIO) -> bool:
    if sound_file.format == "MP3" or sound_file.frames > _UNKNOWN_FRAMES:
        return True
    if sound_file.format in _WITH_LAYOUT and 2 < sound_file.channels <= MOST_PLANES:
        return True
    return not sound_file.frames and lacks_size(file)


@lru_cache(maxsize=256)
def _joined_in_file(key: Key) -> tuple[Span, ...]:
    """Cache `find_joined` for a file of which many parts are read."""
    with open_regular(key[0]) as file:
        return find_joined(file, key[0])


def _check_head(file: BinaryIO, name: str) -> None:
    """Refuse what its first bytes give away."""
    head = _head(file, 64)
    if not head:
        raise AudioError(f"{name}: is empty (0 bytes)")
    if head.startswith(b"version https://git-lfs"):
        raise AudioError(f"{name}: is a Git LFS pointer, not the recording; fetch it with: git lfs pull")
    if head.lstrip(b"./").startswith((b"annex/objects/", b"git/annex/objects/")):
        raise AudioError(f"{name}: is a git-annex pointer, not the recording; fetch it with: git annex get")


def _head(file: BinaryIO, length: int) -> bytes:
    file.seek(0)
    return file.read(length)
