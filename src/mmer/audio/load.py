"""Load recordings as waveforms: decode, mix down, resample and check them; every error names the file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from numbers import Real

import numpy as np
import soxr
from numpy.typing import ArrayLike, NDArray

from mmer.audio.checks import (
    SAMPLING_RATE,
    channel_index,
    check_duration,
    check_finite,
    part_of,
    quality_warnings,
)
from mmer.audio.decoding.common import HIGHEST_RATE, LOWEST_RATE, MOST_CHANNELS, AudioInfo
from mmer.audio.decoding.recording import AudioSource, Recording, open_recording, source_name
from mmer.audio.mixdown import Block, Mixer, channel_name
from mmer.errors import AudioError, CodedWarning, EmptyAudioError

_BLOCK = 10  # s that are mixed at a time


@dataclass(frozen=True, slots=True)
class LoadedAudio:
    """A waveform and its warnings.

    Attributes:
        waveform: (samples,), full scale = ±1.
        source_rate: Hz of the original recording.
        warnings: results of `quality_warnings`, and the channels that would have cancelled each other in the mix.
    """

    waveform: NDArray[np.float32]
    source_rate: int
    warnings: list[CodedWarning]


def probe(source: AudioSource) -> AudioInfo:
    """Read sampling rate, channels and duration without decoding.

    The header states them, except for files without a length (MP3 and AAC without a header, live WebM), whose packets
    are counted.

    Raises:
        AudioError: as `load_audio`, for faults that show without decoding.
    """
    with open_recording(source) as recording:
        return recording.info


def load_audio(
    source: AudioSource,
    *,
    sampling_rate: int = SAMPLING_RATE,
    start: float | None = None,
    end: float | None = None,
    max_duration: float | None = None,
    channel: str = "mix",
) -> NDArray[np.float32]:
    """Read a recording, or a part of it, as a mono waveform.

    Args:
        source: audio, or video with an audio track.
        sampling_rate: Hz of the result; other recordings are resampled (soxr, high quality).
        start, end: seconds; the part to read. The decoder seeks to `start` and does not decode what comes before. An
            end up to 0.05 s after the end of the file counts as a rounding error.
        max_duration: seconds; a longer recording or part is refused by its header, before it is decoded. None allows
            two hours.
        channel: `mix`, all channels as `mmer.audio.mixdown` mixes them (two: their mean); `left`, the first; `right`,
            the second; or a number from 1.

    Returns:
        (samples,), full scale = ±1.

    Raises:
        AudioError: the file does not exist, is a folder, a pipe or a device, is not audio, is truncated or corrupt,
            has no samples, has NaN or infinite samples, is longer than `max_duration`, or has no such channel; or
            `start` and `end` are not in this order within it.
    """
    return _loaded(source, sampling_rate, start, end, max_duration, channel)[0]


def load_with_warnings(
    source: AudioSource,
    *,
    sampling_rate: int = SAMPLING_RATE,
    start: float | None = None,
    end: float | None = None,
    max_duration: float | None = None,
    channel: str = "mix",
) -> LoadedAudio:
    """Read a recording as `load_audio` does, and list what may mislead a prediction.

    Args:
        source, sampling_rate, start, end, max_duration, channel: as for `load_audio`.

    Returns:
        The waveform, (samples,), with its warnings.

    Raises:
        AudioError: as `load_audio`.
    """
    waveform, rate, warnings = _loaded(source, sampling_rate, start, end, max_duration, channel)
    return LoadedAudio(waveform, rate, [*quality_warnings(waveform, rate), *warnings])


def _loaded(
    source: AudioSource,
    sampling_rate: int,
    start: float | None,
    end: float | None,
    max_duration: float | None,
    channel: str,
) -> tuple[NDArray[np.float32], int, list[CodedWarning]]:
    """Read the waveform, (samples,), the rate of the recording in Hz, and warnings about its channels."""
    name = source_name(source)
    with open_recording(source) as recording:
        info = recording.info
        first, last = part_of(start, end, info.duration, name)
        check_duration(last - first, max_duration, name)
        channel_index(channel, info.channels, name)
        mixer = Mixer()
        pieces = _mono(recording, first, None if last == info.duration else last, channel, mixer, name)
        waveform = _whole(pieces, sampling_rate, name)
    return waveform, info.sampling_rate, mixer.warnings


def stream_audio(
    source: AudioSource, *, sampling_rate: int = SAMPLING_RATE, channel: str = "mix"
) -> Iterator[NDArray[np.float32]]:
    """Read a recording of any length in memory that does not grow with it.

    Args:
        source, sampling_rate, channel: as for `load_audio`.

    Yields:
        (samples,), about 10 s each; joined, they are the result of `load_audio`, within the rounding of the resampler.

    Raises:
        AudioError: as `load_audio`, after the samples before the fault have been yielded.
    """
    for (samples,) in stream_channels(source, [channel], sampling_rate=sampling_rate):
        yield samples


def stream_channels(
    source: AudioSource, channels: Sequence[str], *, sampling_rate: int = SAMPLING_RATE
) -> Iterator[list[NDArray[np.float32]]]:
    """Read several channels of a recording as `stream_audio` does, and decode it once.

    Args:
        source, sampling_rate: as for `load_audio`.
        channels: each as `channel` of `load_audio`.

    Yields:
        A list with (samples,) of each channel, all of one length.

    Raises:
        AudioError: as `stream_audio`, for any of the channels.
    """
    name = source_name(source)
    with open_recording(source) as recording:
        for channel in channels:
            channel_index(channel, recording.info.channels, name)
        mixers, seconds, done = [Mixer() for _ in channels], 0.0, False
        for rate, blocks in groupby(recording.blocks(), key=lambda block: block.rate):
            resamplers = [
                soxr.ResampleStream(rate, sampling_rate, 1, "float32", "HQ")
                for _ in channels
                if rate != sampling_rate
            ]
            for block in blocks:
                pieces = [
                    _one_of(block, channel, mixer, name, seconds)
                    for channel, mixer in zip(channels, mixers, strict=True)
                ]
                seconds += block.samples.shape[1] / rate
                if resamplers:
                    both = zip(resamplers, pieces, strict=True)
                    pieces = [resampler.resample_chunk(piece) for resampler, piece in both]
                done = done or len(pieces[0]) > 0
                yield pieces
            if resamplers:
                rest = np.zeros(0, np.float32)
                pieces = [resampler.resample_chunk(rest, last=True) for resampler in resamplers]
                done = done or len(pieces[0]) > 0
                yield pieces
        if not done:
            raise EmptyAudioError(f"{name}: holds no samples")


def channel_names(source: AudioSource) -> list[str]:
    """Name the channels of a recording in order: `left`, `right`, `3`, …; `mix` for a mono recording.

    Raises:
        AudioError: as `probe`.
    """
    channels = probe(source).channels
    return [channel_name(index) for index in range(channels)] if channels > 1 else ["mix"]


def as_waveform(
    samples: ArrayLike,
    sampling_rate: int,
    *,
    name: str,
    target_rate: int = SAMPLING_RATE,
    max_duration: float | None = None,
    channel: str = "mix",
) -> NDArray[np.float32]:
    """Mix, resample and check samples in memory as `load_audio` does those of a file.

    Args:
        samples: (samples,), (channels, samples) or (samples, channels); the shorter axis is the channels.
            Floats have full scale ±1; uint8, int8, int16 and int32 are scaled from their whole range.
        sampling_rate: Hz of `samples`.
        name: what errors call these samples.
        target_rate: Hz of the result.
        max_duration: seconds; longer samples are refused. None allows two hours.
        channel: as for `load_audio`.

    Returns:
        (samples,), full scale = ±1.

    Raises:
        AudioError: the samples have another shape or type, are empty, NaN, infinite or too long, or have no such
            channel; or the sampling rate is not a whole number of Hz from 1000 to 768 000.
    """
    return _from_memory(samples, sampling_rate, name, target_rate, max_duration, channel)[0]


def as_waveform_with_warnings(
    samples: ArrayLike,
    sampling_rate: int,
    *,
    name: str,
    target_rate: int = SAMPLING_RATE,
    max_duration: float | None = None,
    channel: str = "mix",
) -> LoadedAudio:
    """Convert samples as `as_waveform` does, and list what may mislead a prediction.

    Args:
        samples, sampling_rate, name, target_rate, max_duration, channel: as for `as_waveform`.

    Returns:
        The waveform, (samples,), with its warnings.

    Raises:
        AudioError: as `as_waveform`.
    """
    waveform, warnings = _from_memory(samples, sampling_rate, name, target_rate, max_duration, channel)
    rate = int(sampling_rate)
    return LoadedAudio(waveform, rate, [*quality_warnings(waveform, rate), *warnings])


def _from_memory(
    samples: ArrayLike,
    sampling_rate: int,
    name: str,
    target_rate: int,
    max_duration: float | None,
    channel: str,
) -> tuple[NDArray[np.float32], list[CodedWarning]]:
    """Convert the samples to a waveform, (samples,), and collect warnings about its channels."""
    if not (
        isinstance(sampling_rate, Real)
        and LOWEST_RATE <= sampling_rate <= HIGHEST_RATE
        and sampling_rate % 1 == 0
    ):
        allowed = f"give a whole number of Hz from {LOWEST_RATE} to {HIGHEST_RATE}, such as 16000"
        raise AudioError(f"{name}: sampling rate {sampling_rate}; {allowed}")
    try:
        array = np.asarray(samples)
    except Exception as error:  # of whatever has an array interface
        raise AudioError(f"{name}: samples are no array of numbers ({error})") from None
    if not array.size:
        raise EmptyAudioError(f"{name}: holds no samples")
    rows, columns = array.shape if array.ndim == 2 else (1, array.size)
    if array.ndim not in (1, 2) or min(rows, columns) > MOST_CHANNELS or rows == columns > 1:
        allowed = f"(samples,), (channels, samples) or (samples, channels), at most {MOST_CHANNELS} channels"
        raise AudioError(f"{name}: samples of shape {array.shape}; give {allowed}")
    kind = array.dtype.newbyteorder("=")
    if kind == np.uint8:
        array = (array.astype(np.float32) - 128) / 128
    elif kind in (np.int8, np.int16, np.int32):
        array = array / -float(np.iinfo(kind).min)
    elif kind.kind != "f":
        raise AudioError(f"{name}: samples of type {array.dtype}; give floats, int16, int32, int8 or uint8")
    chosen = channel_index(channel, min(rows, columns), name)
    by_channel = np.atleast_2d(array if rows < columns or array.ndim == 1 else array.T)
    rate, length = int(sampling_rate), by_channel.shape[1]
    check_duration(length / rate, max_duration, name)
    mixer, size = Mixer(), _BLOCK * rate
    pieces = []
    for begin in range(0, length, size):
        with np.errstate(over="ignore"):  # what is out of range is infinite, and refused
            block = Block(np.asarray(by_channel[:, begin : begin + size], np.float32), rate)
        mixed = mixer.mix(block) if chosen is None else block.samples[chosen]
        check_finite(mixed, rate, name, begin / rate)
        pieces.append((mixed, rate))
    return _whole(pieces, target_rate, name), mixer.warnings


def _mono(
    recording: Recording, start: float, end: float | None, channel: str, mixer: Mixer, name: str
) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Yield the samples, (samples,), of one channel or of the mix, and their rate in Hz, some seconds at a time."""
    seconds = start
    for block in recording.blocks(start, end):
        yield _one_of(block, channel, mixer, name, seconds), block.rate
        seconds += block.samples.shape[1] / block.rate


def _one_of(block: Block, channel: str, mixer: Mixer, name: str, before: float) -> NDArray[np.float32]:
    """Take one channel of a block, or mix all, (samples,); `before` is the seconds of the recording before them."""
    chosen = channel_index(channel, len(block.samples), name)
    samples = mixer.mix(block) if chosen is None else block.samples[chosen]
    check_finite(samples, block.rate, name, before)
    return np.ascontiguousarray(samples)


def _whole(
    pieces: Iterable[tuple[NDArray[np.float32], int]], target_rate: int, name: str
) -> NDArray[np.float32]:
    """Join pieces, (samples,) each, at one rate; pieces of another rate are resampled."""
    found: list[NDArray[np.float32]] = []
    for rate, run in groupby(pieces, key=lambda piece: piece[1]):
        samples = (samples for samples, _ in run)
        if rate == target_rate:
            found += samples
            continue
        first, second = next(samples), next(samples, None)
        if second is None:
            found.append(soxr.resample(first, rate, target_rate, quality="HQ"))
        else:
            found += _resampled(chain([first, second], samples), rate, target_rate)
    if not any(map(len, found)):
        raise EmptyAudioError(f"{name}: holds no samples")
    return found[0] if len(found) == 1 else np.concatenate(found)


def _resampled(
    pieces: Iterable[NDArray[np.float32]], rate: int, target_rate: int
) -> Iterator[NDArray[np.float32]]:
    resampler = soxr.ResampleStream(rate, target_rate, 1, "float32", "HQ")
    for piece in pieces:
        yield resampler.resample_chunk(piece)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
