"""Disturbances of recordings and transcripts, at fixed levels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmer.audio.load import SAMPLING_RATE
from mmer.augment.generators.effects import through_codec
from mmer.errors import MMERError, Parameter
from mmer.runs.seeds import seed_for

AXES: dict[str, tuple[str | float, ...]] = {
    "noise": (20, 10, 5, 0, -5),
    "codec": ("opus", "mp3", "gsm", "u-law"),
    "loudness": (-40, -20, 10, 20),
    "length": (4, 2, 1, 0.5),
    "silence": (0.5, 1, 2),
    "words": (0.1, 0.2, 0.4, 0.8, 1),
}
"""Axes of disturbance and their levels, from weak to strong: signal-to-noise ratio in dB; codecs as `through_codec`
knows them, the last two those of a telephone, at 8 kHz; change of the level in dB, cut at full scale; seconds kept
from the beginning, with all words; seconds of silence before and after; word error rate, where 1 means no
transcript."""

UNITS = {
    "noise": "dB signal to noise, pink noise",
    "codec": "codec",
    "loudness": "dB louder, cut at full scale",
    "length": "seconds that are left",
    "silence": "seconds of silence at either end",
    "words": "word error rate; 100% is no words",
}


_RANGES = {
    "noise": (-50, 100),
    "loudness": (-100, 100),
    "length": (0.1, 3600),
    "silence": (0, 60),
    "words": (0, 1),
}


@dataclass(frozen=True)
class Disturbance:
    """Disturbance at one level; `axis` is None for undisturbed recordings and transcripts."""

    axis: str | None
    level: str | float | None = None

    @property
    def name(self) -> str:
        """Return the name used in files and messages."""
        return "as-it-is" if self.axis is None else f"{self.axis}-{self.level}"

    @property
    def is_heard(self) -> bool:
        """Tell whether it changes the sound."""
        return self.axis not in (None, "words")


def disturbances(axes: Sequence[str]) -> list[Disturbance]:
    """Return the undisturbed case, then every level of these axes, or the given level, as in `words:0.2`.

    Raises:
        MMERError: the axis does not have the level.
    """
    found = [Disturbance(None)]
    for name in axes:
        axis, colon, level = name.partition(":")
        levels = [_level(axis, level)] if colon else AXES[axis]
        found += [each for level in levels if (each := Disturbance(axis, level)) not in found]
    return found


def _level(axis: str, text: str) -> str | float:
    """Read the level that a user wrote; for words also `none`, for no words."""
    if axis == "codec" and text in AXES[axis]:
        return text
    try:
        level = 1.0 if (axis, text) == ("words", "none") else float(text)
    except ValueError:
        level = math.nan
    lowest, highest = _RANGES.get(axis, (math.nan, math.nan))
    if not lowest <= level <= highest:
        codecs = ", ".join(map(str, AXES["codec"]))
        allowed = f"one of {codecs}" if axis == "codec" else f"a number from {lowest:g} to {highest:g}"
        none = ", or none" if axis == "words" else ""
        raise MMERError(Parameter("axes"), f": the level {text!r} of {axis} must be {allowed}{none}")
    return int(level) if level.is_integer() else level


def disturb(
    waveform: NDArray[np.float32], disturbance: Disturbance, key: str, longest: float = math.inf
) -> NDArray[np.float32]:
    """Change the sound of an utterance.

    Args:
        waveform: (samples,) 16 kHz, full scale = ±1.
        disturbance: the disturbance; one of words leaves the sound unchanged.
        key: id of the utterance, which seeds its noise.
        longest: seconds that a model reads; silence is shorter where the utterance would be longer.

    Returns:
        (samples',).
    """
    level = disturbance.level
    if disturbance.axis == "noise":
        assert isinstance(level, int | float)
        noise = pink_noise(len(waveform), key)
        loud = np.sqrt(np.mean(np.square(waveform, dtype=float)))
        return (waveform + noise * loud * 10 ** (-level / 20)).astype(np.float32)
    if disturbance.axis == "codec":
        assert isinstance(level, str)
        return through_codec(np.clip(waveform, -1, 1), level)
    if disturbance.axis == "loudness":
        assert isinstance(level, int | float)
        return np.clip(waveform * 10 ** (level / 20), -1, 1).astype(np.float32)
    if disturbance.axis == "length":
        assert isinstance(level, int | float)
        return waveform[: round(level * SAMPLING_RATE)]
    if disturbance.axis == "silence":
        assert isinstance(level, int | float)
        room = max(0.0, longest * SAMPLING_RATE - len(waveform)) / 2
        return np.pad(waveform, int(min(level * SAMPLING_RATE, room)))
    return waveform


def pink_noise(samples: int, key: str) -> NDArray[np.float64]:
    """Generate (samples,) pink noise with root mean square 1, seeded by the key."""
    white = np.random.default_rng(seed_for(key, size=8)).standard_normal(samples)
    spectrum = np.fft.rfft(white)
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    pink = np.fft.irfft(spectrum, samples)
    return pink / max(float(np.sqrt(np.mean(pink**2))), 1e-12)
