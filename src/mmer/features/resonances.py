"""Resonances of the vocal tract, as the peaks of a smooth curve over the mel spectrum of a voiced frame.

The lowest are close to the formants. They show how open and how tense a voice is, whatever its pitch.
"""

from functools import lru_cache

import numpy as np
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
    to_lags, to_curve = _tables()
    power = np.exp(log_mel - log_mel.max(axis=1, keepdims=True))
    waves = np.square(to_curve @ _predictor(to_lags @ power.T))  # real above imaginary parts
    curve = -np.log(waves[: POINTS + 1] + waves[POINTS + 1 :] + np.float32(1e-12))
    before, here, after = curve[:-2], curve[1:-1], curve[2:]
    peaks = (here > before) & (here >= after)
    peaks[:LOWEST] = False
    peaks &= (number := peaks.cumsum(axis=0)) <= COUNT
    points, frames = np.nonzero(peaks)
    which = number[points, frames] - 1
    left, top, right = before[points, frames], here[points, frames], after[points, frames]
    found = np.full((log_mel.shape[0], 2 * COUNT), np.nan)
    found[frames, which] = points + 1 + (left - right) / (2 * (left - 2 * top + right))
    found[frames, COUNT + which] = top - curve.mean(axis=0)[frames]
    return found


def _predictor(autocorrelation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Solve for the inverse filter of each column, (ORDER + 1, frames), by Levinson's recursion."""
    lags = autocorrelation.astype(np.float64)
    error = lags[0] * (1 + 1e-6)
    inverse = np.zeros(lags.shape)
    inverse[0] = 1
    for order in range(1, ORDER + 1):
        reflection = -np.einsum("of,of->f", inverse[:order], lags[order:0:-1]) / error
        inverse[1 : order + 1] += reflection * inverse[order - 1 :: -1]
        error *= 1 - reflection**2
    return inverse.astype(np.float32)


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Make the cosines from power to lags, (lags, bins), and the cosines and sines from lags to points of the curve."""
    orders = np.arange(ORDER + 1)
    to_lags = np.cos(np.pi / MEL_BINS * np.outer(orders, np.arange(MEL_BINS) + 0.5))
    angles = np.pi / POINTS * np.outer(np.arange(POINTS + 1), orders)
    return to_lags.astype(np.float32), np.concatenate([np.cos(angles), np.sin(angles)]).astype(np.float32)
