"""Recordings as waveforms: decode, mix down, resample and judge; every error names the file."""

import math
from collections.abc import Iterator

import numpy as np
import soxr
from numpy.typing import ArrayLike, NDArray

from mmer.errors import AudioError
from mmer.recording import AudioInfo, AudioSource, open_recording, source_name

SAMPLING_RATE = 16_000  # Hz, of every waveform inside the package

_SIDES = {"left": 0, "right": 1}
_MAX_CHANNELS = 32
_ROUNDING = 0.05  # s, by which an end in a table may lie behind the end of the file


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
        max_duration: seconds; a longer recording or part is refused from its header, before it is decoded.
        channel: `mix`, the mean of all channels; `left`, the first; `right`, the second; or the number of one, from 1.

    Returns:
        (samples,), full scale = ±1.

    Raises:
        AudioError: no such file, a folder, not audio, truncated or corrupt, no samples, NaN or infinite
            samples, longer than `max_duration`, no such channel, or `start` and `end` not in this order within the
            file.
    """
    name = source_name(source)
    with open_recording(source) as recording:
        info = recording.info
        first, last = _part(start, end, info.duration, name)
        _check_duration(last - first, max_duration, name)
        chosen = _channel_index(channel, info.channels, name)
        waveform = recording.read(first, None if last == info.duration else last, chosen)
    return _finish(waveform, info.sampling_rate, sampling_rate, name)


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
    name = source_name(source)
    with open_recording(source) as recording:
        rate = recording.info.sampling_rate
        chosen = _channel_index(channel, recording.info.channels, name)
        resampler = (
            soxr.ResampleStream(rate, sampling_rate, 1, "float32", "HQ") if rate != sampling_rate else None
        )
        done = 0
        for block in recording.blocks(chosen):
            _check_finite(block, rate, name, done)
            done += len(block)
            yield resampler.resample_chunk(block) if resampler else block
        if not done:
            raise AudioError(f"{name}: holds no samples")
        if resampler:
            yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def channel_names(source: AudioSource) -> list[str]:
    """What the channels of a recording are called, one by one: `left`, `right`, `3`, …; `mix` for the only one.

    Raises:
        AudioError: as `probe`.
    """
    channels = probe(source).channels
    return ["left", "right", *map(str, range(3, channels + 1))][:channels] if channels > 1 else ["mix"]


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
            sampling rate that is not a whole number of Hz of at least 1000.
    """
    if not (
        isinstance(sampling_rate, int | float) and 1000 <= sampling_rate < math.inf and sampling_rate % 1 == 0
    ):
        raise AudioError(f"{name}: sampling rate {sampling_rate}; give a whole number of Hz, such as 16000")
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
    if array.ndim == 2:
        by_channel = array if rows < columns else array.T
        array = by_channel.mean(axis=0) if chosen is None else by_channel[chosen]
    _check_duration(len(array) / sampling_rate, max_duration, name)
    with np.errstate(over="ignore"):  # what is out of range is infinite, and refused
        array = array.astype(np.float32)
    return _finish(array, int(sampling_rate), target_rate, name)


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
    """From 0; null for the mean of all."""
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
    if limit is not None and duration > limit:
        raise AudioError(
            f"{name}: {duration:.1f} s long, at most {limit:g} s are allowed; cut it or raise max_duration"
        )


def _check_finite(waveform: NDArray[np.float32], rate: int, name: str, before: int = 0) -> None:
    """`before`: samples that came before these."""
    wrong = np.flatnonzero(~np.isfinite(waveform))
    if len(wrong):
        at = f"{(before + wrong[0]) / rate:.3f} s"
        raise AudioError(f"{name}: {len(wrong)} samples are NaN or infinite, the first at {at}")


def _finish(waveform: NDArray[np.float32], rate: int, target_rate: int, name: str) -> NDArray[np.float32]:
    """Check the samples and resample them."""
    _check_finite(waveform, rate, name)
    if rate != target_rate:
        waveform = soxr.resample(waveform, rate, target_rate, quality="HQ")
    if not len(waveform):
        raise AudioError(f"{name}: holds no samples")
    return waveform
