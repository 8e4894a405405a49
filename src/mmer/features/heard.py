"""Find the part of a clip in which something is heard.

How long a clip is silent before and after the speech depends on who cut it. Means, quantiles and durations would depend
on it too.
"""

import numpy as np
from numpy.typing import NDArray

from mmer.features.prosody import FILTER_WINDOW, HOP, QUIET, SAMPLING_RATE, WINDOW

_STEP = 8  # samples at 16 kHz, from one window to the next
_WINDOW, _FRAME, _HOP = WINDOW // _STEP, FILTER_WINDOW // _STEP, HOP // _STEP
_LASTING = 10  # hops, 0.1 s; beside a shorter click, speech does not count as silent


def heard(waveform: NDArray[np.float32], rate: int = SAMPLING_RATE) -> slice:
    """Find what is left of a clip without the silence before and after it.

    A window of 40 ms is silent if its energy is more than `QUIET` below that of the loudest 0.1 s.

    Args:
        waveform: (samples,), at least one.
        rate: Hz.

    Returns:
        The samples from the first window that is not silent to the last one, of which the inner 25 ms count; all
        samples of a clip that is equally loud throughout.
    """
    step, around = max(1, round(_STEP * rate / SAMPLING_RATE)), (_WINDOW - _FRAME) // 2
    steps = -(-len(waveform) // step)
    rows = max(steps + 2 * around, _WINDOW)
    centered = waveform.astype(np.float64) - waveform.mean()
    # Where a recording has an offset or drifts, zeros at its ends would be loud steps.
    after = (rows - around) * step - len(waveform)
    padded = np.pad(centered, (around * step, after), mode="edge").reshape(rows, step)
    sums = np.zeros((2, len(padded) + 1))
    np.cumsum([padded.sum(axis=1), np.einsum("ij,ij->i", padded, padded)], axis=1, out=sums[:, 1:])
    mean, square = (sums[:, _WINDOW:] - sums[:, :-_WINDOW]) / (_WINDOW * step)
    energy = np.maximum(square - mean**2, 0.0)
    loud = np.sort(energy[::_HOP])[-_LASTING:][0]
    first, last = np.flatnonzero(energy >= loud * np.exp(-QUIET))[[0, -1]].tolist()
    return slice(first * step, min((last + _FRAME) * step, len(waveform)))
