"""The WORLD vocoder (Morise, Yokomori and Ozawa, 2016): takes speech apart, changes it and puts it together again."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from mmer.audio.load import SAMPLING_RATE
from mmer.extras import import_extra

_FRAME_PERIOD = 5.0  # ms
_SYLLABLES = 200.0  # ms, standard deviation of what the energy is smoothed with
_PAUSE = 1e-2  # of the highest smoothed energy, 20 dB: below are pauses


def resynthesize(
    waveform: NDArray[np.float32], *, pitch: float = 1.0, formant: float = 1.0, rate: float = 1.0
) -> NDArray[np.float32]:
    """Take speech apart and put it together again.

    Args:
        waveform: (samples,) mono, 16 kHz, 0.05 s or more.
        pitch: factor on the fundamental frequency.
        formant: factor on the frequencies of the spectral envelope.
        rate: factor on the speed.

    Returns:
        (samples',) with samples' / samples = 1 / `rate`, to 10 ms.
    """
    pyworld = import_extra("pyworld", "WORLD", extra="augment")
    frequency, envelope, aperiodicity = _analyze(pyworld, waveform)
    bins = np.arange(envelope.shape[1]) / formant
    made = pyworld.synthesize(
        frequency * pitch,
        np.exp(_at(np.log(envelope), bins)),
        np.clip(_at(aperiodicity, bins), 0, 1),
        SAMPLING_RATE,
        _FRAME_PERIOD / rate,
    )
    return made[: round(len(waveform) / rate)].astype(np.float32)


def flatten(waveform: NDArray[np.float32], *, rate: float = 1.0, level: float = 1.0) -> NDArray[np.float32]:
    """Flatten the melody and the stress of speech; the words stay.

    Where there is voice, the fundamental frequency is its median everywhere. The energy, smoothed over a syllable
    or two, is the same everywhere but in pauses; what is finer, by which sounds differ, stays.

    Args:
        waveform: (samples,) mono, 16 kHz, 0.05 s or more.
        rate: factor on the speed.
        level: factor on the root mean square.

    Returns:
        (samples',) with samples' / samples = 1 / `rate`, to 10 ms.
    """
    pyworld = import_extra("pyworld", "a flat voice", extra="augment")
    frequency, envelope, aperiodicity = _analyze(pyworld, waveform)
    voiced = frequency > 0
    if voiced.any():
        frequency = np.where(voiced, np.median(frequency[voiced]), 0.0)
    energy = gaussian_filter1d(envelope.sum(axis=1), _SYLLABLES / _FRAME_PERIOD)
    floor = energy.max() * _PAUSE
    gain = np.median(energy[energy >= floor]) / np.maximum(energy, floor)
    made = pyworld.synthesize(
        frequency, envelope * gain[:, None], aperiodicity, SAMPLING_RATE, _FRAME_PERIOD / rate
    )[: round(len(waveform) / rate)]
    before, after = (float(np.sqrt(np.mean(np.square(each, dtype=float)))) for each in (waveform, made))
    return (made * (level * before / max(after, 1e-9))).astype(np.float32)


def _analyze(
    pyworld: Any, waveform: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Compute fundamental frequency (frames,), 0 if unvoiced, spectral envelope and aperiodicity (frames, bins)."""
    samples = waveform.astype(np.float64)
    coarse, times = pyworld.dio(samples, SAMPLING_RATE, frame_period=_FRAME_PERIOD)
    frequency = pyworld.stonemask(samples, coarse, times, SAMPLING_RATE)
    envelope = pyworld.cheaptrick(samples, frequency, times, SAMPLING_RATE)
    aperiodicity = pyworld.d4c(samples, frequency, times, SAMPLING_RATE)
    return frequency, envelope, aperiodicity


def _at(spectra: NDArray[np.float64], bins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate (frames, bins) `spectra` at fractional bins; bins above the last equal the last."""
    below = np.minimum(bins.astype(int), spectra.shape[1] - 1)
    above = np.minimum(below + 1, spectra.shape[1] - 1)
    share = bins - below
    share[below == above] = 0.0
    return np.ascontiguousarray(spectra[:, below] * (1 - share) + spectra[:, above] * share)
