"""Compute log-mel features of w2v-BERT and `compact`: all frames at once, within 1e-5 of those of transformers.

The extractor's own loop over frames takes several times as long and blocks other reading threads.
"""

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

FRAME, HOP, TRANSFORM = 400, 160, 512  # samples
MEL_BINS = 80
LOWEST = 20  # Hz, where the lowest bin begins
PREEMPHASIS = 0.97
FLOOR = 1.192092955078125e-07
PAIR = 2  # frames; the extractor fills up to a multiple before it stacks


def log_mel(waveform: NDArray[np.float32], extractor: Any, standardize: bool) -> NDArray[np.float32]:
    """Compute the features that a `SeamlessM4TFeatureExtractor` gives for one clip, without frames of padding alone.

    Args:
        waveform: (samples,), at least 400.
        extractor: supplies window, filters, stride and padding value.
        standardize: whether to standardize each bin over the frames of the clip.

    Returns:
        (frames, bins * stride).
    """
    scaled = waveform.astype(np.float64)
    scaled *= 2**15  # Kaldi reads 16-bit integers
    emphasized = np.zeros_like(scaled)
    np.multiply(scaled[:-1], -PREEMPHASIS, out=emphasized[1:])
    emphasized[1:] += scaled[1:]
    # The extractor takes the mean from a frame before it emphasizes; of the emphasized frame that leaves this share.
    share = 1 - PREEMPHASIS
    samples = windows(scaled, FRAME, HOP)
    mean = samples.mean(axis=1)
    filled = np.zeros((len(samples), TRANSFORM))
    frames = filled[:, :FRAME]
    np.subtract(windows(emphasized, FRAME, HOP), share * mean[:, None], out=frames)
    frames[:, 0] = share * (samples[:, 0] - mean)
    frames *= extractor.window
    # In float32, the transform would lose the quiet bins beside loud ones. What follows only adds up.
    power = power_spectrum(filled).astype(np.float32)
    bins = power @ extractor.mel_filters.astype(np.float32)
    np.maximum(bins, np.float32(FLOOR), out=bins)
    np.log(bins, out=bins)
    if standardize:
        bins = (bins - bins.mean(0)[None]) / np.sqrt(bins.var(0, ddof=1)[None] + 1e-7)
    count, stride = len(bins), extractor.stride
    bins = np.pad(bins, ((0, count % PAIR), (0, 0)), constant_values=extractor.padding_value)
    stacked = bins[: len(bins) - len(bins) % stride].reshape(-1, bins.shape[1] * stride)
    return stacked[np.arange(len(stacked)) * stride + 1 < count].astype(np.float32, copy=False)


def mel(frequency: ArrayLike) -> NDArray[np.float64]:
    """Convert Hz to the mel scale of Kaldi."""
    return 1127.0 * np.log(1.0 + np.asarray(frequency) / 700.0)


def hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert the mel scale of Kaldi to Hz."""
    return 700.0 * (np.exp(mel / 1127.0) - 1.0)


def power_spectrum(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the power spectrum, (frames, bins), of real frames, (frames, samples)."""
    squares = np.asarray(scipy.fft.rfft(frames), np.complex128).view(np.float64)
    np.square(squares, out=squares)
    return squares[:, ::2] + squares[:, 1::2]


def windows(samples: NDArray[Any], length: int, hop: int) -> NDArray[Any]:
    """View samples as windows, (windows, length), that begin every `hop` samples.

    It takes a twentieth of the time of `sliding_window_view`, which counts where clips are short.
    """
    size = samples.itemsize
    shape, strides = ((len(samples) - length) // hop + 1, length), (hop * size, size)
    return np.ndarray(shape, samples.dtype, np.ascontiguousarray(samples), strides=strides)
