"""Open a recording with the library that reads its format best.

libsndfile reads WAV, FLAC, Ogg and Opus, FFmpeg (PyAV) everything else. MP3 goes to FFmpeg too: libsndfile
estimates the length of an MP3 without a Xing header and silently stops there (3.4 s of one of 20 s). So does what has
more than two channels, since FFmpeg knows which channel is which.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from io import FileIO
from itertools import accumulate
from typing import Any, BinaryIO, TypeAlias

import av
import av.error
import numpy as np
import soundfile
from av.audio.frame import format_dtypes
from av.codec.codec import UnknownCodecError
from av.container import InputContainer
from av.stream import Discard
from numpy.typing import NDArray

from mmer.errors import AudioError, MMERError, TruncatedError
from mmer.joined import Slice, Span, find_joined, lacks_size
from mmer.mixdown import Block
from mmer.regular_files import open_regular

AudioSource: TypeAlias = str | os.PathLike[str] | BinaryIO
"""A path, or an open binary file that can seek."""

_HIGHEST_RATE = 768_000  # Hz
_MOST_CHANNELS = 32
_BLOCK = 10  # s, that are decoded at a time
_BLOCK_VALUES = 1 << 23  # samples of all channels, at most, that are decoded at a time
_PREROLL = 0.5  # s, decoded before the wanted part: codecs need a few frames to settle after a seek
_UNKNOWN_LENGTH = 0x7FFF_0000  # bytes; programs that write WAV to a pipe state this or more
_HEADER = 128  # bytes; programs count the header, of 44 to 80 bytes, among the samples
_UNKNOWN_FRAMES = 1 << 62  # what libsndfile says of a FLAC file without length
_HEADERLESS = {"aac", "ac3", "amr", "eac3", "mp3"}  # FFmpeg guesses the length of these from the bit rate
_WITH_LAYOUT = {"WAVEX", "FLAC", "OGG", "CAF", "RF64"}  # formats that say which channel is which
_MOST_WITH_LAYOUT = 8
# Playlists and other formats that point to further files or addresses are not opened.
_FORMATS = "aac,ac3,aiff,amr,ape,asf,avi,caf,eac3,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,tta,w64,wav,wv"
_FULL_SCALE = {"f8": 1, "i2": 1 << 15, "i4": 1 << 31, "u1": 1 << 7}


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the header of a recording says.

    Attributes:
        sampling_rate: Hz; of several recordings joined in one file, that of the first.
        channels: 1 = mono; the most that one of them has.
        duration: seconds, of all together.
    """

    sampling_rate: int
    channels: int
    duration: float


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
        self.info = _checked(AudioInfo(file.samplerate, file.channels, file.frames / file.samplerate), name)
        # libsndfile reads what there is of a WAV file that was cut off, and says so in its log alone.
        sizes = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
        if sizes and int(sizes[2]) + _HEADER < int(sizes[1]) < _UNKNOWN_LENGTH:
            raise _truncated(name, f"{sizes[1]} bytes of samples", sizes[2])

    def blocks(self, start: float = 0.0, end: float | None = None) -> Iterator[Block]:
        """Samples from `start` to `end` seconds, to the last if null, some seconds at a time."""
        rate, frames = self.info.sampling_rate, self._file.frames
        first = min(round(start * rate), frames)
        last = frames if end is None else min(round(end * rate), frames)
        with _decoding(self._name):
            self._go_to(first)
            while self._position < last:
                samples = self._read(last - self._position)
                if not len(samples):
                    found = f"{self._position / rate:.2f} s"
                    raise _truncated(self._name, f"{frames / rate:.2f} s", found)
                yield Block(samples.T, rate)

    def _go_to(self, first: int) -> None:
        if first != self._position and self._seekable:
            self._position = self._file.seek(first)
        if first < self._position:
            raise AudioError(f"{self._name}: can only be read from the beginning")
        while self._position < first and len(self._read(first - self._position)):
            pass

    def _read(self, frames: int) -> NDArray[np.float32]:
        """(samples, channels), at most a block of them."""
        frames = min(frames, _block_length(self.info.sampling_rate, self.info.channels))
        samples = self._file.read(frames, dtype="float32", always_2d=True)
        self._position += len(samples)
        return samples


class ContainerRecording:
    """The first audio track of a recording that FFmpeg reads."""

    def __init__(self, container: InputContainer, name: str, key: "_Key | None") -> None:
        self._container, self._name = container, name
        if not container.streams.audio:
            raise AudioError(f"{name}: has no audio track; found {container.format.long_name}")
        self._stream = stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise AudioError(f"{name}: its audio track is of a kind that cannot be decoded")
        if not stream.rate or not stream.channels or stream.time_base is None:
            raise AudioError(f"{name}: holds no samples")
        for other in container.streams:
            if other is not stream:
                other.discard = Discard.all
        self._time_base = float(stream.time_base)
        self._offset = (stream.start_time or 0) * self._time_base
        self._stated: float | None = None
        # An MP3 with a Xing header has a start time, its encoder's delay, and states its length as well.
        if container.format.name not in _HEADERLESS or stream.start_time:
            if stream.duration and stream.duration > 0:
                self._stated = stream.duration * self._time_base
            elif container.duration and not container.streams.video:
                self._stated = container.duration / av.time_base
        duration = self._measured(key) if self._stated is None else self._stated
        self.info = _checked(AudioInfo(stream.rate, stream.channels, duration), name)

    def _measured(self, key: "_Key | None") -> float:
        """Seconds to the end of the last packet."""
        if key is not None:
            return _end_of_file(key) - self._offset
        end = _end_of_packets(self._container)
        self._container.seek(0)
        return end - self._offset

    def blocks(self, start: float = 0.0, end: float | None = None) -> Iterator[Block]:
        """Samples from `start` to `end` seconds, to the last if null, some seconds at a time."""
        with _decoding(self._name):
            yield from self._decoded(start, end)

    def _decoded(self, start: float, end: float | None) -> Iterator[Block]:
        if start > 0:
            target = max(start - _PREROLL, 0.0) + self._offset
            self._container.seek(int(target / self._time_base), stream=self._stream)
        gathered: _Gathered | None = None
        position = 0  # index of the frame's first sample
        reached = 0.0  # seconds of the last sample
        for frame in self._container.decode(self._stream):
            rate, count = frame.sample_rate, frame.samples
            time = reached if frame.time is None else frame.time - self._offset
            reached = time + count / rate
            if gathered is None or not gathered.takes(frame):
                if gathered:
                    yield from gathered.block()
                    position = round(position * rate / gathered.rate)
                elif start > 0:
                    position = round(time * rate)
                gathered = _Gathered(frame, self._name)
                begin, stop = round(start * rate), None if end is None else round(end * rate)
                longest = (self.info.duration + 1) * rate
            first = max(begin - position, 0)
            last = count if stop is None else min(stop - position, count)
            if first < last:
                gathered.add(frame, first, last)
                if gathered.is_full:
                    yield from gathered.block()
            position += count
            if stop is not None and position >= stop:
                yield from gathered.block()
                return
            if position > longest:
                stated = f"{self.info.duration:.2f} s that its header states"
                raise AudioError(f"{self._name}: corrupt or joined from several, longer than the {stated}")
        if gathered:
            yield from gathered.block()
        if self._stated is not None and reached < self._stated - 0.25:
            raise _truncated(self._name, f"{self._stated:.2f} s", f"{reached:.2f} s")


class _Input:
    """An open file as FFmpeg reads it, which is told -1 where it seeks to before the beginning."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self.name = file, name
        self.read, self.tell = file.read, file.tell

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1


class JoinedRecording:
    """Several recordings in one file, heard one after another."""

    def __init__(self, file: BinaryIO, name: str, spans: tuple[Span, ...], key: "_Key | None") -> None:
        self._file, self._name, self._spans, self._key = file, name, spans, key
        infos = []
        for number in range(len(spans)):
            with self._part(number) as part:
                infos.append(part.info)
        self._ends = list(accumulate(info.duration for info in infos))
        self.info = AudioInfo(infos[0].sampling_rate, max(info.channels for info in infos), self._ends[-1])

    def blocks(self, start: float = 0.0, end: float | None = None) -> Iterator[Block]:
        """Samples from `start` to `end` seconds, to the last if null; each recording at its own rate."""
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
        with _open_one(Slice(self._file, span), name, key) as part:
            yield part


Recording: TypeAlias = SoundFileRecording | ContainerRecording | JoinedRecording
_Key: TypeAlias = tuple[str, int, int, Span]
"""Path, when it was changed (ns), bytes, and the part of it that is meant: what measured things are remembered by."""


@contextmanager
def open_recording(source: AudioSource) -> Iterator[Recording]:
    """Open a recording by what it holds, whatever its suffix says.

    Raises:
        AudioError: no such file, a folder, a pipe or a device, not audio, truncated or corrupt, of more than 768 kHz
            or 32 channels; also while it is read inside the `with` block.
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
        with _open(file, name, key) as recording:  # pyright: ignore[reportArgumentType]
            yield recording


def source_name(source: AudioSource) -> str:
    """What errors call a recording."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "audio stream"


@contextmanager
def _open(file: BinaryIO, name: str, key: _Key | None) -> Iterator[Recording]:
    with _decoding(name):
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
    file: BinaryIO, name: str, key: _Key | None
) -> Iterator[SoundFileRecording | ContainerRecording]:
    with _decoding(name):
        sound_file = _open_sound_file(file)
        container = None if sound_file else _open_container(file, name)
    try:
        with _decoding(name):
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


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Whatever a library raises about a file is one error that names the file."""
    try:
        yield
    except (MMERError, MemoryError):
        raise
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{name}: truncated or corrupt ({error.error_string.rstrip('.')})") from None
    except av.error.FFmpegError as error:
        raise AudioError(f"{name}: truncated or corrupt ({error.strerror})") from None
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({error.strerror or error})") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise AudioError(f"{name}: truncated or corrupt ({reason})") from None


def _open_sound_file(file: BinaryIO) -> soundfile.SoundFile | None:
    """Null for what is left to FFmpeg."""
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
    if sound_file.format in _WITH_LAYOUT and 2 < sound_file.channels <= _MOST_WITH_LAYOUT:
        return True
    return not sound_file.frames and lacks_size(file)


def _open_container(file: BinaryIO, name: str) -> InputContainer:
    options = {
        "format_whitelist": _FORMATS,
        "protocol_whitelist": "none",  # no file or address that a recording names is opened
        "codec_whitelist": _audio_codecs(),  # pictures are not decoded to find out about them
    }
    file.seek(0)
    try:
        return av.open(_Input(file, name), mode="r", options=options, metadata_errors="replace")
    except av.error.FFmpegError as error:
        known = "WAV, FLAC, Ogg, Opus, MP3, M4A, MP4, WebM or AVI"
        raise AudioError(
            f"{name}: is no audio or video file that can be read ({error.strerror}); give {known}"
        ) from None


@cache
def _audio_codecs() -> str:
    names = []
    for name in sorted(av.codecs_available):
        try:
            codec = av.Codec(name, "r")
        except UnknownCodecError:
            continue  # it only encodes
        if codec.type == "audio":
            names.append(codec.name)
    return ",".join(names)


@lru_cache(maxsize=256)
def _joined_in_file(key: _Key) -> tuple[Span, ...]:
    """As `find_joined`, once for a file of which many parts are read."""
    with open_regular(key[0]) as file:
        return find_joined(file, key[0])  # pyright: ignore[reportArgumentType]


@lru_cache(maxsize=256)
def _end_of_file(key: _Key) -> float:
    """As `_end_of_packets`, once for a file of which many parts are read."""
    with open_regular(key[0]) as file, _open_container(Slice(file, key[3]), key[0]) as container:  # pyright: ignore[reportArgumentType]
        return _end_of_packets(container)


def _end_of_packets(container: InputContainer) -> float:
    """Seconds at which the last packet ends; packets are read, not decoded."""
    stream, end = container.streams.audio[0], 0
    assert stream.time_base is not None
    for packet in container.demux(stream):
        if packet.pts is not None:
            end = max(end, packet.pts + (packet.duration or 0))
    return end * float(stream.time_base)


class _Gathered:
    """The samples of decoded frames of one rate, layout and format."""

    def __init__(self, frame: av.AudioFrame, name: str) -> None:
        self.rate, self._channels = frame.sample_rate, frame.layout.nb_channels
        _checked(AudioInfo(self.rate, self._channels, 0.0), name)
        self._form = (self.rate, frame.layout.name, frame.format.name)
        names = tuple(channel.name for channel in frame.layout.channels)
        self._layout = None if self._channels < 3 or "NONE" in names else names
        self._room = _block_length(self.rate, self._channels)
        self._planar = frame.format.is_planar
        self._kind = format_dtypes.get(frame.format.name)
        self._converter: av.AudioResampler | None = None
        # PyAV looks for an end of the planes, which more than eight do not have.
        if self._kind is None or (self._planar and self._channels > _MOST_WITH_LAYOUT):
            self._converter = av.AudioResampler(format="flt")
            self._planar, self._kind = False, "f4"
        self._pieces: list[list[NDArray[Any]]] = []
        self._held = 0

    def takes(self, frame: av.AudioFrame) -> bool:
        """Whether a frame is of the same rate, layout and format."""
        return (frame.sample_rate, frame.layout.name, frame.format.name) == self._form

    @property
    def is_full(self) -> bool:
        """Whether there is enough for a block."""
        return self._held >= self._room

    def add(self, frame: av.AudioFrame, first: int, last: int) -> None:
        """Keep the samples from `first` to before `last`."""
        if self._converter:
            (frame,) = self._converter.resample(frame)
        step = 1 if self._planar else self._channels
        planes = [
            np.frombuffer(plane, self._kind, frame.samples * step)[first * step : last * step]  # pyright: ignore[reportArgumentType, reportCallIssue]
            for plane in frame.planes
        ]
        self._pieces.append(planes)
        self._held += last - first

    def block(self) -> Iterator[Block]:
        """What was kept, if anything; it is forgotten."""
        if not self._pieces:
            return
        planes = [np.concatenate(pieces) for pieces in zip(*self._pieces, strict=True)]
        self._pieces, self._held = [], 0
        samples = np.stack(planes) if self._planar else planes[0].reshape(-1, self._channels).T
        if self._kind != "f4":
            samples = samples.astype(np.float32)
            if self._kind == "u1":
                samples -= 128
            samples /= np.float32(_FULL_SCALE[self._kind])
        yield Block(samples, self.rate, self._layout)


def _block_length(rate: int, channels: int) -> int:
    """Samples of each channel that are read at a time."""
    return max(min(_BLOCK * rate, _BLOCK_VALUES // channels), 1)


def _checked(info: AudioInfo, name: str) -> AudioInfo:
    if not 0 < info.sampling_rate <= _HIGHEST_RATE:
        raise AudioError(f"{name}: states {info.sampling_rate} Hz; at most {_HIGHEST_RATE} Hz can be read")
    if not 0 < info.channels <= _MOST_CHANNELS:
        raise AudioError(f"{name}: states {info.channels} channels; at most {_MOST_CHANNELS} can be read")
    return info


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


def _truncated(name: str, stated: str, found: str) -> TruncatedError:
    return TruncatedError(
        f"{name}: truncated, its header states {stated} and it holds {found}; copy it again"
    )
