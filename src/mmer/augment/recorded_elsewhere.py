"""Change the `compact` encoder's features as if a clip had been recorded elsewhere: microphone, line, room and noise.

A corpus is often recorded in one place with one device, whose mark is on all that is learned from it. The changes are
made to the features: made to the waveform, they would take many times as long.
"""

from dataclasses import dataclass

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from mmer.features.compact import with_level, without_level
from mmer.features.log_mel import FRAME, LOWEST, MEL_BINS, PREEMPHASIS, hertz, mel
from mmer.features.prosody import HARMONICS, HOP, PERIODIC, QUIET, SAMPLING_RATE

TILT = 4.0
"""Largest difference in dB between the middle and either end of the mel axis, of a microphone."""
LOW_PASS, HIGH_PASS = (3000.0, 8000.0), (20.0, 350.0)
"""Hz, of a line."""
ROLL_OFF = 200.0, 24.0
"""dB for each octave beyond these; lower sampling rates cut steeply."""
DECAY = (0.15, 0.7)
"""Seconds after which the sound of a room is 60 dB lower."""
REFLECTED = (-14.0, 0.0)
"""dB of the sound of a room beside the voice."""
SIGNAL_TO_NOISE = (5.0, 45.0)
"""dB."""
COLOR = (0.0, 2.0)
"""Exponent of the fall of a noise's power with frequency: 0 white, 1 pink, 2 brown."""

_DB = np.log(10) / 10  # nats of power
_EDGES = hertz(np.linspace(mel(LOWEST), mel(SAMPLING_RATE / 2), MEL_BINS + 2))
_CENTERS, _WIDTHS = _EDGES[1:-1], (_EDGES[2:] - _EDGES[:-2]) / 2
_EMPHASIS = 1 + PREEMPHASIS**2 - 2 * PREEMPHASIS * np.cos(2 * np.pi * _CENTERS / SAMPLING_RATE)
_AVERAGED = np.maximum(1.0, _WIDTHS * FRAME / SAMPLING_RATE)
"""Independent powers of a noise whose mean a bin is."""

Power = NDArray[np.float64]


def recorded_elsewhere(frames: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Change a clip as if it had been recorded in a `Place` that is drawn.

    Args:
        frames: (frames, 83) of `compact_features` without functionals, not standardized; at least one.
        seed: the same seed gives the same place and the same noise.

    Returns:
        (frames, 83); NaN where the pitch was, and where it is no longer heard.
    """
    random = np.random.default_rng(seed)
    return Place.drawn(random).change(frames, random)


@dataclass(frozen=True)
class Place:
    """Where and with what a clip is recorded.

    Attributes:
        microphone: (80,) response to the voice, in nats of power.
        decay: factor on the power of the sound of a room from one frame to the next.
        reflected: power of the sound of a room beside that of the voice.
        noise: (80,) mean power of the noise beside a clip whose mean power is 1.
        line: (80,) response to voice, room and noise, in nats of power.
    """

    microphone: Power
    decay: float
    reflected: float
    noise: Power
    line: Power

    @classmethod
    def drawn(cls, random: np.random.Generator) -> "Place":
        """Draw a place: tilted, band-limited and with an echo in half of all cases each, and never silent."""
        tilt, line, reflected = 0.0, np.zeros(MEL_BINS), 0.0
        if random.random() < 0.5:
            tilt = random.uniform(-TILT, TILT)
        if random.random() < 0.5:
            low, high = random.uniform(*LOW_PASS), random.uniform(*HIGH_PASS)
            line -= ROLL_OFF[0] * np.maximum(0, np.log2(_CENTERS / low))
            line -= ROLL_OFF[1] * np.maximum(0, np.log2(high / _CENTERS))
        if random.random() < 0.5:
            reflected = np.exp(_DB * random.uniform(*REFLECTED))
        decay = np.exp(-60 * _DB * HOP / SAMPLING_RATE / random.uniform(*DECAY))
        noise = noise_spectrum(random.uniform(*COLOR), random.uniform(*SIGNAL_TO_NOISE))
        return cls(_DB * tilt * np.linspace(-1, 1, MEL_BINS), decay, reflected, noise, _DB * line)

    def change(self, frames: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
        """Return the frames, (frames, 83), as they would be from this place; see `recorded_elsewhere`."""
        log_power, voice = with_level(frames)
        before = np.exp(log_power.astype(np.float64)) / _EMPHASIS
        direct = before * np.exp(self.microphone)
        # Each frame is heard in those after it, less and less.
        echo = [0, self.reflected * (1 - self.decay)], [1, -self.decay]
        after = direct + np.asarray(scipy.signal.lfilter(*echo, direct, axis=0))
        strength = random.gamma(_AVERAGED, 1 / _AVERAGED, after.shape)
        after += self.noise * strength * (after.sum() / len(after))
        direct, after = direct * np.exp(self.line), after * np.exp(self.line)
        pitch, periodicity, energy = voice.T
        harmonic = _CENTERS < HARMONICS
        periodicity = periodicity * direct[:, harmonic].sum(axis=1) / after[:, harmonic].sum(axis=1)
        energy = energy + np.log(after.sum(axis=1) / before.sum(axis=1))
        voiced = (periodicity > PERIODIC) & (energy > energy.max() - QUIET)
        pitch = np.where(voiced, pitch, np.nan)
        return without_level(np.log(after * _EMPHASIS), np.stack([pitch, periodicity, energy], axis=1))


def noise_spectrum(color: float, signal_to_noise: float) -> Power:
    """Return `Place.noise` of a color, see `COLOR`, and a signal-to-noise ratio in dB."""
    spectrum = _WIDTHS * _CENTERS**-color
    return spectrum * (np.exp(-_DB * signal_to_noise) / spectrum.sum())
