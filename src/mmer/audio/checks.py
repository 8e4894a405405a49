"""Refuse recordings that cannot be used, and warn about recordings that may mislead a prediction."""

import math

import numpy as np
from numpy.typing import NDArray

from mmer.audio.faults import AudioFault
from mmer.errors import AudioError, CodedWarning, EmptyAudioError, MMERError, Parameter, TooLongError
from mmer.plain_text import counted

SAMPLING_RATE = 16_000  # Hz, of every waveform inside the package

_SIDES = {"left": 0, "right": 1}
_LONGEST = 2 * 3600  # s of a waveform in memory: 0.5 GB, and as much again while it is computed
_ROUNDING = 0.05  # s by which an end in a table may lie after the end of the file


def quality_warnings(waveform: NDArray[np.float32], source_rate: int) -> list[CodedWarning]:
    """List what may mislead a prediction: a low sampling rate, silence, a low level, clipping.

    Args:
        waveform: (samples,), at least one sample, full scale = ±1.
        source_rate: Hz of the original recording.

    Returns:
        One line each; empty for a usual recording.
    """
    warnings = list[CodedWarning]()

    def warn(fault: AudioFault, text: str) -> None:
        warnings.append(CodedWarning(text, fault))

    if source_rate < SAMPLING_RATE:
        warn(AudioFault.LOW_RATE, f"{source_rate} Hz recording: nothing above {source_rate / 2:g} Hz")
    magnitude = np.abs(waveform)
    peak, clipped = float(magnitude.max()), np.count_nonzero(magnitude >= 0.99) / len(magnitude)
    sound = waveform - waveform.mean()  # an offset of the microphone is no sound
    loudest, level = float(np.abs(sound).max()), 20 * np.log10(sound.std() + 1e-10)
    if loudest < 1e-3:
        warn(AudioFault.SILENT, f"silent: no sound above {loudest:.2g} of full scale")
    elif level < -50:
        warn(AudioFault.VERY_QUIET, f"very quiet: {level:.0f} dB of full scale")
    if peak > 4:
        warn(AudioFault.BEYOND_FULL_SCALE, f"samples up to {peak:.4g}: floats are expected between -1 and 1")
    elif clipped > 1e-3:
        warn(AudioFault.CLIPPED, f"clipped: {clipped:.1%} of samples at full scale")
    return warnings


def channel_index(channel: str, channels: int, name: str) -> int | None:
    """Convert the name of a channel to its index from 0; None for the mix of all channels.

    Args:
        channel: `mix`, `left`, `right` or a number from 1.
        channels: number of channels of the recording.
        name: what errors call the recording.

    Raises:
        AudioError: the recording has no such channel.
    """
    if channel == "mix":
        return None
    if channel not in _SIDES and not (channel.isdecimal() and int(channel)):
        raise AudioError(f"{name}: no channel {channel!r}; it must be mix, left, right or a number from 1")
    index = _SIDES[channel] if channel in _SIDES else int(channel) - 1
    if index >= channels:
        found = "it is mono" if channels == 1 else f"it has {channels}"
        raise AudioError(f"{name}: has no channel {channel}, {found}; give mix, left or each")
    return index


def part_of(start: float | None, end: float | None, duration: float, name: str) -> tuple[float, float]:
    """Resolve the part of a recording to read, in seconds from its beginning.

    Args:
        start, end: seconds; None for the beginning and the end of the recording.
        duration: seconds of the whole recording.
        name: what errors call the recording.

    Raises:
        EmptyAudioError: the recording is empty.
        AudioError: `start` and `end` are not in this order within it.
    """
    if not duration:
        raise EmptyAudioError(f"{name}: holds no samples")
    first, last = start or 0.0, duration if end is None else end
    if not (0 <= first < duration and last <= duration + _ROUNDING):
        raise AudioError(
            f"{name}: {first:g} s to {last:g} s is not within the file, which has {duration:.3f} s"
        )
    if first >= last:
        raise AudioError(f"{name}: start {first:g} s is not before end {last:g} s")
    return first, min(last, duration)


def check_duration(duration: float, limit: float | None, name: str) -> None:
    """Refuse a recording of more than `limit` seconds; without a limit, of more than two hours.

    Raises:
        TooLongError: it is longer.
    """
    if limit is None and duration > _LONGEST:
        raise TooLongError(
            f"{name}: {duration:.1f} s long, at most {_LONGEST} s are read at once; cut it, or give start and end"
        )
    if limit is not None and duration > limit:
        raise TooLongError(
            f"{name}: {duration:.1f} s long, at most {limit:g} s are allowed; cut it, or divide it into segments of "
            "speech by a timeline"
        )


def check_seconds(seconds: float, name: str) -> None:
    """Refuse a setting that is no number of seconds.

    Args:
        seconds: the setting.
        name: of the parameter.

    Raises:
        MMERError: it is below 0, infinite or NaN.
    """
    if not 0 <= seconds < math.inf:
        raise MMERError(Parameter(name), f" is {seconds:g}; it must be a number of seconds, 0 or more")


def check_finite(waveform: NDArray[np.float32], rate: int, name: str, before: float) -> None:
    """Refuse samples that are NaN or infinite.

    Args:
        waveform: (samples,).
        rate: Hz.
        name: what errors call the recording.
        before: seconds of the recording before these samples.

    Raises:
        AudioError: there are such samples.
    """
    finite = np.isfinite(waveform)
    if not finite.all():
        wrong = np.flatnonzero(~finite)
        at = f"{before + wrong[0] / rate:.3f} s"
        raise AudioError(
            f"{name}: {counted(len(wrong), 'sample', 'is', 'are')} NaN or infinite, the first at {at}"
        )
