"""Recordings that FFmpeg (PyAV) reads: everything that is no WAV, FLAC or Ogg file, and what has surround sound."""

import os
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, BinaryIO, cast

import av
import av.error
import numpy as np
from av.audio.frame import format_dtypes
from av.codec.codec import UnknownCodecError
from av.container import InputContainer
from av.stream import Discard, Disposition
from numpy.typing import NDArray

from mmer.audio.decoding.common import AudioInfo, Key, block_length, checked, decoding, truncated
from mmer.audio.decoding.joined import Slice
from mmer.audio.faults import KNOWN_FORMATS
from mmer.audio.mixdown import Block
from mmer.errors import AudioError, EmptyAudioError
from mmer.files.regular import open_regular

_MOST_PLANES = 7
"""Channels of frames whose planes PyAV can tell apart: it looks for an end that more do not have."""

# Playlists and other formats that point to further files or addresses are not opened.
_FORMATS = "aac,ac3,aiff,amr,ape,asf,avi,caf,eac3,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,tta,w64,wav,wv"
_HEADERLESS = {"aac", "ac3", "amr", "eac3", "mp3"}  # FFmpeg guesses the length of these from the bit rate
_PREROLL = 0.5  # s, decoded before the wanted part: codecs need a few frames to settle after a seek
_LONGEST_TAIL = 1 << 14  # bytes behind the last frame of an MP3; more than that is lost sound
_SOUGHT_IN_OGG = {"opus", "vorbis"}  # other codecs in Ogg have wrong times after a seek
_FULL_SCALE = {"f8": 1, "i2": 1 << 15, "i4": 1 << 31, "u1": 1 << 7}


_SEEN = 0.05  # s; sound may be so late without being out of step with its picture
_LATEST = 3600.0  # s; sound that begins later than this after its picture has wrong times


class ContainerRecording:
    """The first audio track of a recording that FFmpeg reads.

    Silence stands before sound that begins later than its picture, so that times are those that a player shows.
    """

    def __init__(self, container: InputContainer, file: BinaryIO, name: str, key: "Key | None") -> None:
        self._container, self._name = container, name
        if not container.streams.audio:
            raise AudioError(f"{name}: has no audio track; found {container.format.long_name}")
        self._stream = stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise AudioError(f"{name}: its audio track is of a kind that cannot be decoded")
        if not stream.rate or not stream.channels or stream.time_base is None:
            raise EmptyAudioError(f"{name}: holds no samples")
        for other in container.streams:
            if other is not stream:
                other.discard = Discard.all
        in_ogg = container.format.name == "ogg"
        self._has_times_after_seek = not in_ogg or stream.codec_context.name in _SOUGHT_IN_OGG
        self._time_base = float(stream.time_base)
        self._offset = (stream.start_time or 0) * self._time_base
        self._stated: float | None = None
        # An MP3 with a Xing header has a start time, its encoder's delay, and states its length as well.
        if container.format.name not in _HEADERLESS or stream.start_time:
            if stream.duration and stream.duration > 0:
                self._stated = stream.duration * self._time_base
            elif container.duration and not container.streams.video and abs(self._offset) < _SEEN:
                self._stated = container.duration / av.time_base
        duration = self._measured(file, key) if self._stated is None else self._stated
        self._silent = round(self._behind_picture() * stream.rate)
        self._lead = self._silent / stream.rate
        self.info = checked(AudioInfo(stream.rate, stream.channels, self._lead + duration), name)

    def _behind_picture(self) -> float:
        """Return the seconds by which the sound begins after its picture; 0 where they begin together."""
        begins = [
            video.start_time * float(video.time_base)
            for video in self._container.streams.video
            if video.start_time is not None
            and video.time_base is not None
            and not video.disposition & Disposition.attached_pic
        ]
        behind = self._offset - min(begins, default=self._offset)
        return behind if _SEEN <= behind <= _LATEST else 0.0

    def _measured(self, file: BinaryIO, key: "Key | None") -> float:
        """Measure the seconds to the end of the last packet."""
        if key is not None:
            return _end_of_file(key) - self._offset
        # In a container of its own: from a seek back to the beginning, Matroska goes on after the first packet.
        position = file.tell()
        with open_container(file, self._name) as container:
            end = _end_of_packets(container)
        file.seek(position)
        return end - self._offset

    def blocks(self, start: float = 0.0, end: float | None = None) -> Iterator[Block]:
        """Yield the samples from `start` to `end` seconds, or to the last, some seconds at a time."""
        yield from self._silence(start, end)
        if end is None or end > self._lead:
            with decoding(self._name):
                yield from self._decoded(
                    max(start - self._lead, 0.0), None if end is None else end - self._lead
                )

    def _silence(self, start: float, end: float | None) -> Iterator[Block]:
        """Yield the part of the silence before the sound that is from `start` to `end` seconds."""
        rate, channels = self.info.sampling_rate, self.info.channels
        last = self._silent if end is None else min(round(end * rate), self._silent)
        room = block_length(rate, channels)
        for first in range(round(start * rate), last, room):
            yield Block(np.zeros((channels, min(room, last - first)), np.float32), rate, None)

    def _decoded(self, start: float, end: float | None) -> Iterator[Block]:
        if start > _PREROLL and self._has_times_after_seek:
            target = start - _PREROLL + self._offset
            self._container.seek(int(target / self._time_base), stream=self._stream)
        gathered: _Gathered | None = None
        begin, stop, longest = 0, None, 0.0  # of the samples that are wanted, at the rate of `gathered`
        position = 0  # index of the frame's first sample
        reached = 0.0  # seconds of the last sample
        for frame in self._frames(start):
            rate, count = frame.sample_rate, frame.samples
            time = reached if frame.time is None else frame.time - self._offset
            reached = time + count / rate
            if gathered is None or not gathered.takes(frame):
                if gathered:
                    yield from gathered.block()
                    position = round(position * rate / gathered.rate)
                gathered = _Gathered(frame, self._name)
                begin, stop = round(start * rate), None if end is None else round(end * rate)
                longest = (self.info.duration + 1) * rate
            if start > _PREROLL and (not position or time < start):
                # Again for each frame, as in an MPEG program stream the first times after a seek are wrong.
                position = round(time * rate)
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
            raise truncated(self._name, f"{self._stated:.2f} s", f"{reached:.2f} s")

    def _frames(self, start: float) -> Iterator[av.AudioFrame]:
        """Decode what follows; a packet that ends before `start` may be one that cannot be decoded.

        After a seek, the first packets of an MPEG program stream hold parts of a frame. The last packet of an MP3 may
        be a tag that FFmpeg does not know, or padding.
        """
        tail: av.error.InvalidDataError | None = None
        for packet in self._container.demux(self._stream):
            if tail and packet.size:
                raise tail
            try:
                frames = packet.decode()
            except av.error.InvalidDataError as error:
                if self._may_be_tail(packet):
                    tail = error
                    continue
                if packet.pts is None or self._container.format.name in _HEADERLESS:
                    raise  # times there are counted, and wrong after damage
                end = (packet.pts + (packet.duration or 0)) * self._time_base - self._offset
                if end > start:
                    raise
                continue
            yield from frames

    def _may_be_tail(self, packet: av.Packet) -> bool:
        """Tell whether a packet of an MP3 is no frame, and short enough to be a tag or padding."""
        is_frame = bytes(packet)[:1] == b"\xff"
        return self._container.format.name == "mp3" and 0 < packet.size <= _LONGEST_TAIL and not is_frame


class _Input:
    """An open file as FFmpeg reads it: a seek to before the beginning returns -1 instead of raising."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self.name = file, name
        self.read, self.tell = file.read, file.tell

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1


def open_container(file: BinaryIO, name: str) -> InputContainer:
    """Open what an open file holds, and nothing else.

    Raises:
        AudioError: it holds no recording.
    """
    options = {
        "format_whitelist": _FORMATS,
        "protocol_whitelist": "none",  # no file or address that a recording names is opened
        "codec_whitelist": _audio_codecs(),  # pictures are not decoded to find out about them
    }
    file.seek(0)
    try:
        return av.open(_Input(file, name), mode="r", options=options, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise AudioError(
            f"{name}: is no audio or video file that can be read ({error.strerror}); give {KNOWN_FORMATS}"
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
def _end_of_file(key: Key) -> float:
    """Cache `_end_of_packets` for a file of which many parts are read."""
    with open_regular(key[0]) as file:
        part = cast(BinaryIO, Slice(file, key[3]))  # see Slice
        with open_container(part, key[0]) as container:
            return _end_of_packets(container)


def _end_of_packets(container: InputContainer) -> float:
    """Find the second at which the last packet ends; packets are read, not decoded."""
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
        checked(AudioInfo(self.rate, self._channels, 0.0), name)
        self._form = (self.rate, frame.layout.name, frame.format.name)
        names = tuple(channel.name for channel in frame.layout.channels)
        self._layout = None if self._channels < 3 or "NONE" in names else names
        self._room = block_length(self.rate, self._channels)
        self._planar = frame.format.is_planar
        self._kind: str = format_dtypes.get(frame.format.name, "")
        self._converter: av.AudioResampler | None = None
        if not self._kind or (self._planar and self._channels > _MOST_PLANES):
            self._converter = av.AudioResampler(format="flt")
            self._planar, self._kind = False, "f4"
        self._pieces: list[list[NDArray[Any]]] = []
        self._held = 0

    def takes(self, frame: av.AudioFrame) -> bool:
        """Tell whether a frame has the same rate, layout and format."""
        return (frame.sample_rate, frame.layout.name, frame.format.name) == self._form

    @property
    def is_full(self) -> bool:
        """Whether enough samples for a block are collected."""
        return self._held >= self._room

    def add(self, frame: av.AudioFrame, first: int, last: int) -> None:
        """Keep the samples from `first` to before `last`."""
        if self._converter:
            (frame,) = self._converter.resample(frame)
        step = 1 if self._planar else self._channels
        # A plane has the buffer interface, which the types of PyAV do not state.
        planes = [
            np.frombuffer(plane, self._kind, frame.samples * step)[first * step : last * step]  # pyright: ignore[reportArgumentType, reportCallIssue]
            for plane in frame.planes
        ]
        self._pieces.append(planes)
        self._held += last - first

    def block(self) -> Iterator[Block]:
        """Yield the collected samples as a block, if there are any, and release them."""
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
