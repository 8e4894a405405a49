"""Open a recording with the library that reads its format best.

libsndfile reads WAV, FLAC, Ogg and Opus, FFmpeg (PyAV) everything else. MP3 goes to FFmpeg too: libsndfile
estimates the length of an MP3 without a Xing header and silently stops there (3.4 s of one of 20 s).
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO, TypeAlias

import av
import av.error
import numpy as np
import soundfile
from av.container import InputContainer
from numpy.typing import NDArray

from mmer.errors import AudioError, TruncatedError

AudioSource: TypeAlias = str | os.PathLike[str] | BinaryIO
"""A path, or an open binary file that can seek."""

_BLOCK = 10  # s, that are decoded at a time
_PREROLL = 0.5  # s, decoded before the wanted part: codecs need a few frames to settle after a seek
_UNKNOWN_LENGTH = 0x7FFF_0000  # bytes; programs that write WAV to a pipe state this or more
_HEADERLESS = {"aac", "ac3", "amr", "eac3", "mp3"}  # FFmpeg guesses the length of these from the bit rate
# Playlists and other formats that point to further files or addresses are not opened.
_FORMATS = "aac,ac3,aiff,amr,ape,asf,avi,caf,eac3,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,tta,w64,wav,wv"


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the header of a recording says.

    Attributes:
        sampling_rate: Hz.
        channels: 1 = mono.
        duration: seconds.
    """

    sampling_rate: int
    channels: int
    duration: float


class SoundFileRecording:
    """A recording that libsndfile reads."""

    def __init__(self, file: soundfile.SoundFile, name: str) -> None:
        self._file, self._name = file, name
        self.info = AudioInfo(file.samplerate, file.channels, file.frames / file.samplerate)
        # libsndfile reads what there is of a WAV file that was cut off, and says so in its log alone.
        sizes = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
        if sizes and int(sizes[2]) < int(sizes[1]) < _UNKNOWN_LENGTH:
            raise _truncated(name, f"{sizes[1]} bytes of samples", sizes[2])

    def read(self, start: float, end: float | None, channel: int | None) -> NDArray[np.float32]:
        """Mono samples from `start` to `end` seconds, to the last sample if null.

        Args:
            start, end: seconds.
            channel: from 0; null for the mean of all.
        """
        rate, frames = self.info.sampling_rate, self._file.frames
        first = min(round(start * rate), frames)
        wanted = (frames if end is None else min(round(end * rate), frames)) - first
        self._file.seek(first)
        samples = self._file.read(wanted, dtype="float32", always_2d=True)
        self._check_read(first + wanted, first + len(samples))
        return _one_channel(samples.T, channel)

    def blocks(self, channel: int | None) -> Iterator[NDArray[np.float32]]:
        """All mono samples, some seconds at a time; `channel` as for `read`."""
        self._file.seek(0)
        done = 0
        size = _BLOCK * self.info.sampling_rate
        while len(samples := self._file.read(size, dtype="float32", always_2d=True)):
            done += len(samples)
            yield _one_channel(samples.T, channel)
        self._check_read(self._file.frames, done)

    def _check_read(self, stated: int, found: int) -> None:
        if found < stated:
            rate = self.info.sampling_rate
            raise _truncated(self._name, f"{self._file.frames / rate:.2f} s", f"{found / rate:.2f} s")


class ContainerRecording:
    """The first audio track of a recording that FFmpeg reads."""

    def __init__(self, container: InputContainer, name: str, source: str | BinaryIO) -> None:
        self._container, self._name = container, name
        if not container.streams.audio:
            raise AudioError(f"{name}: has no audio track; found {container.format.long_name}")
        self._stream = stream = container.streams.audio[0]
        if not stream.rate or stream.time_base is None:
            raise AudioError(f"{name}: holds no samples")
        self._time_base = float(stream.time_base)
        self._offset = (stream.start_time or 0) * self._time_base
        self._stated: float | None = None
        # An MP3 with a Xing header has a start time, its encoder's delay, and states its length as well.
        if container.format.name not in _HEADERLESS or stream.start_time:
            if stream.duration:
                self._stated = stream.duration * self._time_base
            elif container.duration and not container.streams.video:
                self._stated = container.duration / av.time_base
        duration = self._measured(source) if self._stated is None else self._stated
        self.info = AudioInfo(stream.rate, stream.channels, duration)

    def _measured(self, source: str | BinaryIO) -> float:
        """Seconds to the end of the last packet."""
        if isinstance(source, str):
            status = os.stat(source)
            return _end_of_file(source, status.st_mtime_ns, status.st_size) - self._offset
        end = _end_of_packets(self._container)
        self._container.seek(0)
        return end - self._offset

    def read(self, start: float, end: float | None, channel: int | None) -> NDArray[np.float32]:
        """Mono samples from `start` to `end` seconds, to the last sample if null.

        Args:
            start, end: seconds.
            channel: from 0; null for the mean of all.
        """
        rate = self.info.sampling_rate
        chunks: list[NDArray[np.float32]] = []
        origin = 0  # index of the first sample
        for time, chunk in self._decoded(start, end, channel):
            if not chunks and start > 0:
                origin = round(time * rate)
            chunks.append(chunk)
        waveform = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
        last = None if end is None else max(round(end * rate) - origin, 0)
        return waveform[max(round(start * rate) - origin, 0) : last]

    def blocks(self, channel: int | None) -> Iterator[NDArray[np.float32]]:
        """All mono samples, some seconds at a time; `channel` as for `read`."""
        chunks: list[NDArray[np.float32]] = []
        samples = 0
        for _, chunk in self._decoded(0.0, None, channel):
            chunks.append(chunk)
            samples += len(chunk)
            if samples >= _BLOCK * self.info.sampling_rate:
                yield np.concatenate(chunks)
                chunks, samples = [], 0
        if chunks:
            yield np.concatenate(chunks)

    def _decoded(
        self, start: float, end: float | None, channel: int | None
    ) -> Iterator[tuple[float, NDArray[np.float32]]]:
        """Frames that hold what lies from `start` to `end`: seconds of the first sample, and mono samples."""
        rate = self.info.sampling_rate
        if start > 0:
            target = max(start - _PREROLL, 0.0) + self._offset
            self._container.seek(int(target / self._time_base), stream=self._stream)
        resampler = av.AudioResampler(format="fltp")  # float, one plane per channel; rate and layout stay
        origin: int | None = None  # index of the first sample
        decoded, reached = 0, 0.0  # samples so far, seconds of the last
        for frame in self._container.decode(self._stream):
            time = (frame.time or 0.0) - self._offset
            if origin is None:
                origin = round(time * rate) if start > 0 else 0
            for chunk in resampler.resample(frame):
                yield time, _one_channel(chunk.to_ndarray(), channel)
            decoded += frame.samples
            reached = time + frame.samples / rate
            if end is not None and origin + decoded >= round(end * rate):
                return
            if decoded > (self.info.duration + 1) * rate:
                stated = f"{self.info.duration:.2f} s"
                raise AudioError(f"{self._name}: corrupt, longer than the {stated} that its header states")
        if self._stated is not None and reached < self._stated - 0.25:
            raise _truncated(self._name, f"{self._stated:.2f} s", f"{reached:.2f} s")


@lru_cache(maxsize=256)
def _end_of_file(path: str, modified: int, size: int) -> float:
    """As `_end_of_packets`, once for a file of which many parts are read."""
    with _open_container(path, path) as container:
        return _end_of_packets(container)


def _end_of_packets(container: InputContainer) -> float:
    """Seconds at which the last packet ends; packets are read, not decoded."""
    stream, end = container.streams.audio[0], 0
    assert stream.time_base is not None
    for packet in container.demux(stream):
        if packet.pts is not None:
            end = max(end, packet.pts + (packet.duration or 0))
    return end * float(stream.time_base)


@contextmanager
def open_recording(source: AudioSource) -> Iterator[SoundFileRecording | ContainerRecording]:
    """Open a recording by what it holds, whatever its suffix says.

    Raises:
        AudioError: no such file, a folder, not audio, truncated or corrupt; also while it is read inside the
            `with` block.
    """
    name = source_name(source)
    if isinstance(source, str | os.PathLike):
        source = os.fspath(source)
        if not os.path.exists(source):
            raise AudioError(f"{name}: no such file")
        if os.path.isdir(source):
            raise AudioError(f"{name}: is a folder; give an audio file")
    elif not source.seekable():
        raise AudioError(f"{name}: cannot seek; read it into memory first (io.BytesIO)")
    _check_head(source, name)
    try:
        file = _open_sound_file(source)
        if file is not None:
            with file:
                yield SoundFileRecording(file, name)
        else:
            with _open_container(source, name) as container:
                yield ContainerRecording(container, name, source)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{name}: truncated or corrupt ({error.error_string.rstrip('.')})") from None
    except av.error.FFmpegError as error:
        raise AudioError(f"{name}: truncated or corrupt ({error.strerror})") from None


def source_name(source: AudioSource) -> str:
    """What errors call a recording."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "audio stream"


def _open_sound_file(source: str | BinaryIO) -> soundfile.SoundFile | None:
    """Null for what is left to FFmpeg."""
    try:
        # Encoded by us, since soundfile cannot encode names that are not UTF-8.
        file = soundfile.SoundFile(os.fsencode(source) if isinstance(source, str) else _rewound(source))
    except soundfile.LibsndfileError as error:
        # Code 3: a format that libsndfile knows, malformed. It says so too of sound Ogg files of less than a second,
        # which FFmpeg writes as a single page.
        if error.code == 3 and _head(source) != b"OggS":
            raise
        return None
    if file.format != "MP3":
        return file
    file.close()
    return None


def _open_container(source: str | BinaryIO, name: str) -> InputContainer:
    try:
        return av.open(_rewound(source), mode="r", options={"format_whitelist": _FORMATS})
    except av.error.FFmpegError as error:
        known = "WAV, FLAC, Ogg, Opus, MP3, M4A, MP4, WebM or AVI"
        raise AudioError(
            f"{name}: is no audio or video file that can be read ({error.strerror}); give {known}"
        ) from None


def _check_head(source: str | BinaryIO, name: str) -> None:
    """Refuse what its first bytes give away."""
    try:
        if isinstance(source, str):
            with open(source, "rb") as file:
                head = file.read(64)
        else:
            source.seek(0)
            head = source.read(64)
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({error.strerror})") from None
    if not head:
        raise AudioError(f"{name}: is empty (0 bytes)")
    if head.startswith(b"version https://git-lfs"):
        raise AudioError(f"{name}: is a Git LFS pointer, not the recording; fetch it with: git lfs pull")


def _head(source: str | BinaryIO) -> bytes:
    if isinstance(source, str):
        with open(source, "rb") as file:
            return file.read(4)
    source.seek(0)
    return source.read(4)


def _rewound(source: str | BinaryIO) -> str | BinaryIO:
    if not isinstance(source, str):
        source.seek(0)
    return source


def _one_channel(samples: NDArray[Any], channel: int | None) -> NDArray[np.float32]:
    """(samples,) of (channels, samples)."""
    return samples.mean(axis=0) if channel is None else samples[channel]


def _truncated(name: str, stated: str, found: str) -> TruncatedError:
    return TruncatedError(
        f"{name}: truncated, its header states {stated} and it holds {found}; copy it again"
    )
