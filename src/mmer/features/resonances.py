"""Resonances of the vocal tract, as the peaks of a smooth curve over the mel spectrum of a voiced frame.

The lowest are close to the formants. They show how open and how tense a voice is, whatever its pitch.
"""

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mmer.features.log_mel import MEL_BINS

COUNT = 3
ORDER = 12  # of the all-pole model: two for each of six peaks
POINTS = 128  # of its curve over the mel axis
LOWEST = 4  # point; peaks below are of the pitch


def resonances(log_mel: NDArray[np.float32]) -> NDArray[np.float64]:
    """Find the lowest peaks of an all-pole model of each mel spectrum, as in perceptual linear prediction (Hermansky).

    Args:
        log_mel: (frames, 80) voiced frames.

    Returns:
        (frames, 2 * `COUNT`): places on the mel axis in points of 128, then the levels of the curve there, in nats
        above its mean; NaN for a peak that a frame does not have.
    """
    power = np.exp(log_mel - log_mel.max(axis=1, keepdims=True))
    # scipy's functions have no types.
    inverse = np.asarray(scipy.fft.rfft(_predictor(power @ _cosines()), 2 * POINTS), np.complex128)
    curve = -np.log(inverse.real**2 + inverse.imag**2 + 1e-12)
    before, here, after = curve[:, :-2], curve[:, 1:-1], curve[:, 2:]
    peaks = (here > before) & (here >= after)
    peaks[:, :LOWEST] = False
    number = peaks.cumsum(axis=1)
    mean = curve.mean(axis=1)
    found = np.full((len(curve), 2 * COUNT), np.nan)
    for peak in range(COUNT):
        rows, points = np.nonzero(peaks & (number == peak + 1))
        left, top, right = before[rows, points], here[rows, points], after[rows, points]
        found[rows, peak] = points + 1 + (left - right) / (2 * (left - 2 * top + right))
        found[rows, COUNT + peak] = top - mean[rows]
    return found


def _predictor(autocorrelation: NDArray[np.float32]) -> NDArray[np.float64]:
    """Solve for the inverse filter of each autocorrelation, (frames, ORDER + 1), by Levinson's recursion."""
    lags = autocorrelation.astype(np.float64)
    error = lags[:, 0] * (1 + 1e-6)
    inverse = np.zeros(lags.shape)
    inverse[:, 0] = 1
    for order in range(1, ORDER + 1):
        reflection = -(inverse[:, :order] * lags[:, order:0:-1]).sum(axis=1) / error
        inverse[:, 1 : order + 1] += reflection[:, None] * inverse[:, order - 1 :: -1][:, :order]
        error *= 1 - reflection**2
    return inverse


@lru_cache(maxsize=1)
def _cosines() -> NDArray[np.float32]:
    """Make the cosines that turn power over the mel axis into its autocorrelation, (bins, lags)."""
    angles = np.pi / MEL_BINS * np.outer(np.arange(MEL_BINS) + 0.5, np.arange(ORDER + 1))
    return np.cos(angles).astype(np.float32)
