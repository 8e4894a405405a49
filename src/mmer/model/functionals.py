"""Functionals: one vector for a whole clip, of the kind that eGeMAPS and ComParE made the field's baseline.

What a pooled frame encoder learns only from many speakers (how far the pitch of a clip is from the speaker's usual,
say) a few hundred clips of a few speakers teach it from these.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

Values = NDArray[np.float32]

CEPSTRA = 13
LOW_BANDS, HIGH_BANDS = slice(5, 40), slice(60, 80)  # mel bins of 80: 0.2-1.6 kHz, 4-8 kHz
FUNCTIONALS = 10 + 8 + 5 + 5 * CEPSTRA + 4 + 5 + 5


def functionals(log_mel: Values, voice: Values) -> Values:
    """Functionals of pitch, energy, periodicity, cepstra, spectral balance and rhythm.

    Args:
        log_mel: (frames, 80) natural logarithms, frames of 10 ms.
        voice: (frames, 3) of `prosody`.

    Returns:
        (`FUNCTIONALS`,) float32, not standardized. A clip without any voice has those of its louder half.
    """
    pitch, periodicity, energy = voice.T
    voiced = np.isfinite(pitch)
    pitch = pitch[voiced] if voiced.any() else np.zeros(1, np.float32)
    spoken = voiced if voiced.sum() >= 5 else energy >= np.median(energy)
    cepstra = np.asarray(dct(log_mel, norm="ortho", axis=1))[:, 1 : 1 + CEPSTRA]
    balance = log_mel[:, HIGH_BANDS].mean(axis=1) - log_mel[:, LOW_BANDS].mean(axis=1)
    quarter = len(pitch) // 4 + 1
    parts = [
        *(_distribution(pitch), _movement(pitch)),
        [
            np.percentile(pitch, 95) - np.percentile(pitch, 5),
            pitch[-quarter:].mean() - pitch[:quarter].mean(),
        ],
        *(_distribution(energy) - energy.max() / 2, _movement(energy)),
        _distribution(periodicity[spoken]),
        *(_distribution(cepstra[spoken]).ravel(), cepstra[:, :4].std(axis=0)),
        _rhythm(voiced),
        _distribution(balance[spoken]),
    ]
    return np.concatenate(parts).astype(np.float32)


def _distribution(values: Values) -> Values:
    """Mean, standard deviation and 20th, 50th and 80th percentile over the first axis; (5, ...)."""
    return np.stack([values.mean(axis=0), values.std(axis=0), *np.percentile(values, (20, 50, 80), axis=0)])


def _movement(values: Values) -> list[float]:
    """Mean rise, mean fall and mean change from frame to frame."""
    change = np.diff(values, append=values[-1:])
    rising, falling = change[change > 0], change[change < 0]
    return [
        rising.mean() if len(rising) else 0.0,
        falling.mean() if len(falling) else 0.0,
        np.abs(change).mean(),
    ]


def _rhythm(voiced: NDArray[np.bool_]) -> list[float]:
    """Share of voiced frames, frames, mean and deviation of the lengths of voiced and unvoiced runs, runs a frame."""
    edges = np.flatnonzero(np.diff(voiced))
    runs = np.diff(edges) if len(edges) > 1 else np.zeros(1)
    return [voiced.mean(), len(voiced), runs.mean(), runs.std(), len(edges) / len(voiced)]
