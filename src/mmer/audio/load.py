"""Recordings as waveforms: decode, mix down, resample and judge; every error names the file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from numbers import Real

import numpy as np
import soxr
from numpy.typing import ArrayLike, NDArray

from mmer.audio.decoding import HIGHEST_RATE, LOWEST_RATE, AudioInfo
from mmer.audio.mixdown import Block, Mixer, channel_name
from mmer.audio.recording import AudioSource, Recording, open_recording, source_name
from mmer.errors import AudioError

SAMPLING_RATE = 16_000  # Hz, of every waveform inside the package

_SIDES = {"left": 0, "right": 1}
_MAX_CHANNELS = 32
_LONGEST = 2 * 3600  # s, of a waveform in memory: 0.5 GB, and as much again while it is made
_BLOCK = 10  # s, that are mixed at a time
_ROUNDING = 0.05  # s, by which an end in a table may lie behind the end of the file


@dataclass(frozen=True, slots=True)
class LoadedAudio:
    """A waveform, and what there is to say about it.

    Attributes:
        waveform: (samples,), full scale = ±1.
        source_rate: Hz of the recording it was made from.
        warnings: of `quality_warnings`, and which channels would have cancelled others.
    """

    waveform: NDArray[np.float32]
    source_rate: int
    warnings: list[str]


def probe(source: AudioSource) -> AudioInfo:
    """Sampling rate, channels and duration, without decoding.

    The header is enough, except for files that state no length there (MP3 and AAC without a header, live
    WebM), whose packets are counted.

    Raises:
        AudioError: as `load_audio`, for what can be seen without decoding.
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
        start, end: seconds; the part to read, which is sought, so that what lies before it is not decoded.
            An end up to 0.05 s behind the end of the file counts as rounding.
        max_duration: seconds; a longer recording or part is refused from its header, before it is decoded. None
            allows two hours.
        channel: `mix`, all channels as `mmer.audio.mixdown` mixes them, the mean of two; `left`, the first; `right`,
            the second; or the number of one, from 1.

    Returns:
        (samples,), full scale = ±1.

    Raises:
        AudioError: no such file, a folder, a pipe or a device, not audio, truncated or corrupt, no samples, NaN or
            infinite samples, longer than `max_duration`, no such channel, or `start` and `end` not in this order
            within the file.
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
    """Read as `load_audio`, and say what is likely to spoil a prediction.

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
) -> tuple[NDArray[np.float32], int, list[str]]:
    """The waveform, the rate of the recording in Hz, and warnings about its channels."""
    name = source_name(source)
    with open_recording(source) as recording:
        info = recording.info
        first, last = _part(start, end, info.duration, name)
        _check_duration(last - first, max_duration, name)
        _channel_index(channel, info.channels, name)
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
        (samples,), about 10 s each; together what `load_audio` gives, within the rounding of the resampler.

    Raises:
        AudioError: as `load_audio`; what was read before has been yielded then.
    """
    for (samples,) in stream_channels(source, [channel], sampling_rate=sampling_rate):
        yield samples


def stream_channels(
    source: AudioSource, channels: Sequence[str], *, sampling_rate: int = SAMPLING_RATE
) -> Iterator[list[NDArray[np.float32]]]:
    """Read several channels of a recording as `stream_audio` reads one, decoding it once.

    Args:
        source, sampling_rate: as for `load_audio`.
        channels: each as `channel` of `load_audio`.

    Yields:
        For each channel (samples,), as many of each.

    Raises:
        AudioError: as `stream_audio`, for any of the channels.
    """
    name = source_name(source)
    with open_recording(source) as recording:
        for channel in channels:
            _channel_index(channel, recording.info.channels, name)
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
            raise AudioError(f"{name}: holds no samples")


def channel_names(source: AudioSource) -> list[str]:
    """What the channels of a recording are called, one by one: `left`, `right`, `3`, …; `mix` for the only one.

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
    """Give samples that are already in memory the form and the checks of `load_audio`.

    Args:
        samples: (samples,), (channels, samples) or (samples, channels); the shorter axis is the channels.
            Floats have full scale ±1; uint8, int8, int16 and int32 are scaled from their whole range.
        sampling_rate: Hz of `samples`.
        name: what errors call these samples.
        target_rate: Hz of the result.
        max_duration: seconds; more is refused.
        channel: as for `load_audio`.

    Returns:
        (samples,), full scale = ±1.

    Raises:
        AudioError: another shape or type, no samples, NaN or infinite samples, too long, no such channel, or a
            sampling rate that is not a whole number of Hz from 1000 to 768 000.
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
    """Read as `as_waveform`, and say what is likely to spoil a prediction.

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
) -> tuple[NDArray[np.float32], list[str]]:
    """The waveform, and warnings about its channels."""
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
        raise AudioError(f"{name}: holds no samples")
    rows, columns = array.shape if array.ndim == 2 else (1, array.size)
    if array.ndim not in (1, 2) or min(rows, columns) > _MAX_CHANNELS or rows == columns > 1:
        allowed = f"(samples,), (channels, samples) or (samples, channels), at most {_MAX_CHANNELS} channels"
        raise AudioError(f"{name}: samples of shape {array.shape}; give {allowed}")
    if array.dtype == np.uint8:
        array = (array.astype(np.float32) - 128) / 128
    elif array.dtype in (np.int8, np.int16, np.int32):
        array = array / -float(np.iinfo(array.dtype).min)
    elif array.dtype.kind != "f":
        raise AudioError(f"{name}: samples of type {array.dtype}; give floats, int16, int32, int8 or uint8")
    chosen = _channel_index(channel, min(rows, columns), name)
    by_channel = np.atleast_2d(array if rows < columns or array.ndim == 1 else array.T)
    rate, length = int(sampling_rate), by_channel.shape[1]
    _check_duration(length / rate, max_duration, name)
    mixer, size = Mixer(), _BLOCK * rate
    pieces = []
    for begin in range(0, length, size):
        with np.errstate(over="ignore"):  # what is out of range is infinite, and refused
            block = Block(np.asarray(by_channel[:, begin : begin + size], np.float32), rate)
        mixed = mixer.mix(block) if chosen is None else block.samples[chosen]
        _check_finite(mixed, rate, name, begin / rate)
        pieces.append((mixed, rate))
    return _whole(pieces, target_rate, name), mixer.warnings


def quality_warnings(waveform: NDArray[np.float32], source_rate: int) -> list[str]:
    """What is likely to spoil a prediction; empty for a usual recording.

    Args:
        waveform: (samples,) at least one, full scale = ±1.
        source_rate: Hz of the recording it was made from.
    """
    warnings = []
    if source_rate < SAMPLING_RATE:
        warnings.append(f"{source_rate} Hz recording: nothing above {source_rate / 2:g} Hz")
    magnitude = np.abs(waveform)
    peak, clipped = float(magnitude.max()), float(np.mean(magnitude >= 0.99))
    level = 20 * np.log10(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))) + 1e-10)
    if peak < 1e-3:
        warnings.append(f"silent: no sample above {peak:.2g} of full scale")
    elif level < -50:
        warnings.append(f"very quiet: {level:.0f} dB of full scale")
    if peak > 4:
        warnings.append(f"samples up to {peak:.4g}: floats are expected between -1 and 1")
    elif clipped > 1e-3:
        warnings.append(f"clipped: {clipped:.1%} of samples at full scale")
    return warnings


def _channel_index(channel: str, channels: int, name: str) -> int | None:
    """From 0; None for the mix of all."""
    if channel == "mix":
        return None
    if channel not in _SIDES and not (channel.isdecimal() and int(channel)):
        raise AudioError(f"{name}: no channel {channel!r}; it must be mix, left, right or a number from 1")
    index = _SIDES[channel] if channel in _SIDES else int(channel) - 1
    if index >= channels:
        found = "it is mono" if channels == 1 else f"it has {channels}"
        raise AudioError(f"{name}: has no channel {channel}, {found}; give mix, left or each")
    return index


def _part(start: float | None, end: float | None, duration: float, name: str) -> tuple[float, float]:
    """Seconds to read from and to."""
    if not duration:
        raise AudioError(f"{name}: holds no samples")
    first, last = start or 0.0, duration if end is None else end
    if not (0 <= first < duration and last <= duration + _ROUNDING):
        raise AudioError(
            f"{name}: {first:g} s to {last:g} s is not within the file, which has {duration:.3f} s"
        )
    if first >= last:
        raise AudioError(f"{name}: start {first:g} s is not before end {last:g} s")
    return first, min(last, duration)


def _check_duration(duration: float, limit: float | None, name: str) -> None:
    if limit is None and duration > _LONGEST:
        raise AudioError(
            f"{name}: {duration:.1f} s long, at most {_LONGEST} s are read at once; cut it, or give start and end"
        )
    if limit is not None and duration > limit:
        raise AudioError(
            f"{name}: {duration:.1f} s long, at most {limit:g} s are allowed; cut it or raise max_duration"
        )


def _check_finite(waveform: NDArray[np.float32], rate: int, name: str, before: float) -> None:
    """`before`: seconds that came before these."""
    wrong = np.flatnonzero(~np.isfinite(waveform))
    if len(wrong):
        at = f"{before + wrong[0] / rate:.3f} s"
        raise AudioError(f"{name}: {len(wrong)} samples are NaN or infinite, the first at {at}")


def _mono(
    recording: Recording, start: float, end: float | None, channel: str, mixer: Mixer, name: str
) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Samples of one channel or of all, mixed, and their rate in Hz; some seconds at a time."""
    seconds = start
    for block in recording.blocks(start, end):
        yield _one_of(block, channel, mixer, name, seconds - start), block.rate
        seconds += block.samples.shape[1] / block.rate


def _one_of(block: Block, channel: str, mixer: Mixer, name: str, before: float) -> NDArray[np.float32]:
    """Samples of one channel of a block, or of all, mixed; `before`: seconds that came before them."""
    chosen = _channel_index(channel, len(block.samples), name)
    samples = mixer.mix(block) if chosen is None else block.samples[chosen]
    _check_finite(samples, block.rate, name, before)
    return np.ascontiguousarray(samples)


def _whole(
    pieces: Iterable[tuple[NDArray[np.float32], int]], target_rate: int, name: str
) -> NDArray[np.float32]:
    """Pieces at one rate, those of another resampled as they come."""
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
        raise AudioError(f"{name}: holds no samples")
    return found[0] if len(found) == 1 else np.concatenate(found)


def _resampled(
    pieces: Iterable[NDArray[np.float32]], rate: int, target_rate: int
) -> Iterator[NDArray[np.float32]]:
    resampler = soxr.ResampleStream(rate, target_rate, 1, "float32", "HQ")
    for piece in pieces:
        yield resampler.resample_chunk(piece)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
