"""Compute pitch, periodicity and energy over time, which the log-mel features of a short clip blur.

Pitch is the highest peak of the normalized autocorrelation of each window, after Boersma (1993).
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import median_filter

SAMPLING_RATE = 16_000
HOP = 160  # 10 ms
WINDOW = 640  # 40 ms, three periods of a low voice
FILTER_WINDOW = 400  # 25 ms, of the log-mel frames that these are beside
LONGEST_LAG = SAMPLING_RATE // 60
SHORTEST_LAG = SAMPLING_RATE // 500
TRANSFORM = 2048
HARMONICS = 1200  # Hz; above, speech is too noisy to help
OCTAVE_COST = 4e-4  # of a sample of lag: of two equal peaks, the higher pitch
PERIODIC = 0.5
QUIET = 7.0  # nats below the loudest window of the clip
CHANNELS = 3


def prosody(waveform: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Compute the prosody of a clip in steps of 10 ms.

    Args:
        waveform: (samples,) at 16 kHz.
        frames: number of frames; frame i has the center of log-mel frame i.

    Returns:
        (frames, 3): logarithm to base 2 of the pitch in Hz, NaN in unvoiced frames; periodicity, 0 to 1; natural
        logarithm of the energy.
    """
    window = np.hanning(WINDOW).astype(np.float32)
    start = (WINDOW - FILTER_WINDOW) // 2
    padded = np.pad(waveform, (start, max(0, frames * HOP + WINDOW - start - len(waveform))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:frames]
    windows = windows - windows.mean(axis=1, keepdims=True)
    energy = np.log(windows.var(axis=1) + 1e-8)

    power = _power(windows * window)
    power[:, int(HARMONICS * TRANSFORM / SAMPLING_RATE) :] = 0.0
    autocorrelation = _autocorrelation(power)
    of_window = _autocorrelation(_power(window))
    normalized = autocorrelation / (autocorrelation[:, :1] + 1e-8) * (of_window[0] / of_window)
    lags = np.arange(SHORTEST_LAG, LONGEST_LAG)
    peaks = normalized[:, lags] - OCTAVE_COST * lags
    best = peaks.argmax(axis=1)
    periodicity = np.clip(np.take_along_axis(peaks, best[:, None], axis=1)[:, 0], 0.0, 1.0)

    pitch = median_filter(np.log2(SAMPLING_RATE / lags[best]), size=5, mode="nearest")
    voiced = (periodicity > PERIODIC) & (energy > energy.max() - QUIET)
    pitch = np.where(voiced, pitch, np.nan)
    return np.stack([pitch, periodicity, energy], axis=1).astype(np.float32)


def _power(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    # scipy computes in single precision what numpy would in double; its functions have no types.
    return np.abs(np.asarray(scipy.fft.rfft(windows, TRANSFORM))) ** 2


def _autocorrelation(power: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(scipy.fft.irfft(power))[..., :LONGEST_LAG]
