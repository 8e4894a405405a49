"""Open a recording with the library that reads its format best.

libsndfile reads WAV, FLAC, Ogg and Opus, FFmpeg (PyAV) everything else. MP3 goes to FFmpeg too, also inside of WAV:
libsndfile estimates its length without a Xing header and silently stops there (3.4 s of one of 20 s). So do integers in
W64, which are floats where its header is of the extensible kind, and what has more than two channels, since FFmpeg
knows which channel is which.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate
from typing import BinaryIO, TypeAlias, cast

from mmer.audio.decoding.common import AudioInfo, Key, decoding, first_bytes
from mmer.audio.decoding.ffmpeg import ContainerRecording, open_container
from mmer.audio.decoding.joined import Slice, Span, find_joined
from mmer.audio.decoding.libsndfile import SoundFileRecording, open_sound_file
from mmer.audio.mixdown import Block
from mmer.errors import AudioError
from mmer.files.regular import open_regular

AudioSource: TypeAlias = str | os.PathLike[str] | BinaryIO
"""A path, or an open binary file that can seek."""


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
        sound_file = open_sound_file(file, name)
        container = None if sound_file else open_container(file, name)
    try:
        with decoding(name):
            if sound_file:
                recording = SoundFileRecording(sound_file, name)
            else:
                assert container is not None
                recording = ContainerRecording(container, file, name, key)
        yield recording
    finally:
        if sound_file:
            sound_file.close()
        if container:
            container.close()


@lru_cache(maxsize=256)
def _joined_in_file(key: Key) -> tuple[Span, ...]:
    """Cache `find_joined` for a file of which many parts are read."""
    with open_regular(key[0]) as file:
        return find_joined(file, key[0])


def _check_head(file: BinaryIO, name: str) -> None:
    """Refuse what its first bytes give away."""
    head = first_bytes(file, 64)
    if not head:
        raise AudioError(f"{name}: is empty (0 bytes)")
    if head.startswith(b"version https://git-lfs"):
        raise AudioError(f"{name}: is a Git LFS pointer, not the recording; fetch it with: git lfs pull")
    if head.lstrip(b"./").startswith((b"annex/objects/", b"git/annex/objects/")):
        raise AudioError(f"{name}: is a git-annex pointer, not the recording; fetch it with: git annex get")
