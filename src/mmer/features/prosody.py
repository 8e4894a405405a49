"""Compute pitch, periodicity and energy over time, which the log-mel features of a short clip blur.

Pitch is the highest peak of the normalized autocorrelation of each window, after Boersma (1993). It is computed from
the harmonics alone, at a quarter of the sampling rate; lags keep the resolution of the full rate.
"""

from functools import lru_cache

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray

from mmer.features.log_mel import windows

SAMPLING_RATE = 16_000
HOP = 160  # 10 ms
WINDOW = 640  # 40 ms, three periods of a low voice
FILTER_WINDOW = 400  # 25 ms, of the log-mel frames that these are beside
LONGEST_LAG = SAMPLING_RATE // 60
SHORTEST_LAG = SAMPLING_RATE // 500
TRANSFORM = 2048
HARMONICS = 1200  # Hz; above, speech is too noisy to help
LOW_RATE = 4000  # Hz; enough for the harmonics, and a quarter of the work
STEP = SAMPLING_RATE // LOW_RATE
OCTAVE_COST = 4e-4  # of a sample of lag: of two equal peaks, the higher pitch
SMOOTHED = 5  # frames, over which the pitch is the median
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
    start, length = (WINDOW - FILTER_WINDOW) // 2, frames * HOP + WINDOW
    inside = (waveform - waveform.mean())[: length - start]
    # Where a recording has an offset or drifts, zeros at its ends would be loud steps.
    padded = np.pad(inside, (start, length - start - len(inside)), mode="edge")
    mean, variance = _moments(padded, frames)
    energy = np.log(variance + 1e-8)

    low = soxr.resample(padded, SAMPLING_RATE, LOW_RATE, quality="HQ")
    sound = windows(low, WINDOW // STEP, HOP // STEP)[:frames]
    window, cosines, of_window = _tables()
    # scipy computes in single precision what numpy would in double; its functions have no types.
    spectrum: NDArray[np.complex64] = np.asarray(
        scipy.fft.rfft((sound - mean[:, None]) * window, TRANSFORM // STEP), np.complex64
    )[:, : len(cosines)]
    autocorrelation = (spectrum.real**2 + spectrum.imag**2) @ cosines
    peaks = autocorrelation[:, SHORTEST_LAG:] / (autocorrelation[:, :1] + 1e-8)
    lags = np.arange(SHORTEST_LAG, LONGEST_LAG)
    peaks /= of_window
    peaks -= (OCTAVE_COST * lags).astype(np.float32)
    best = peaks.argmax(axis=1)
    periodicity = np.clip(peaks[np.arange(frames), best], 0.0, 1.0)

    pitch = np.log2(SAMPLING_RATE / lags[best])
    around = np.concatenate([[pitch[0]] * (SMOOTHED // 2), pitch, [pitch[-1]] * (SMOOTHED // 2)])
    pitch = np.sort(windows(around, SMOOTHED, 1), axis=1)[:, SMOOTHED // 2]
    voiced = (periodicity > PERIODIC) & (energy > energy.max() - QUIET)
    pitch = np.where(voiced, pitch, np.nan)
    return np.stack([pitch, periodicity, energy], axis=1).astype(np.float32)


def _moments(padded: NDArray[np.float32], frames: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Compute the mean and the variance of each window, (frames,), from sums over hops, each computed once."""
    hops = padded[: (frames + WINDOW // HOP - 1) * HOP].reshape(-1, HOP).astype(np.float64)
    sums = np.stack([hops.sum(axis=1), np.einsum("ij,ij->i", hops, hops)])
    mean, square = np.sum([sums[:, hop : hop + frames] for hop in range(WINDOW // HOP)], axis=0) / WINDOW
    return mean.astype(np.float32), np.maximum(square - mean**2, 0.0)


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Make what is the same for every clip.

    Returns:
        The window at `LOW_RATE`, (samples,); the cosines that turn a power spectrum up to `HARMONICS` into the
        autocorrelation at lags of `SAMPLING_RATE`, (bins, lags), scaled to be 1 at lag 0 where windows at
        `SAMPLING_RATE` would be; the window's own autocorrelation, 1 at lag 0, (lags from the shortest,).
    """
    window = np.hanning(WINDOW)
    bins = HARMONICS * TRANSFORM // SAMPLING_RATE
    angles = 2 * np.pi * np.outer(np.arange(bins), np.arange(LONGEST_LAG)) / TRANSFORM
    cosines = np.cos(angles) * (2 * STEP**2 / TRANSFORM)
    cosines[0] /= 2
    of_window = np.asarray(scipy.fft.irfft(np.abs(np.asarray(scipy.fft.rfft(window, TRANSFORM))) ** 2))
    return (
        window[::STEP].astype(np.float32),
        cosines.astype(np.float32),
        (of_window[SHORTEST_LAG:LONGEST_LAG] / of_window[0]).astype(np.float32),
    )
