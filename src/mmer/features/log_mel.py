"""Compute log-mel features of w2v-BERT and `compact`: all frames at once, bit-identical to those of transformers.

The extractor's own loop over frames takes three times as long and blocks other reading threads.
"""

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

FRAME, HOP, TRANSFORM = 400, 160, 512  # samples
MEL_BINS = 80
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
    scaled = (waveform * np.float32(2**15)).astype(np.float64)  # Kaldi reads 16-bit integers
    frames = np.lib.stride_tricks.sliding_window_view(scaled, FRAME)[::HOP]
    frames = frames - frames.mean(axis=1, keepdims=True)
    emphasized = np.empty_like(frames)
    emphasized[:, 0] = frames[:, 0] * (1 - PREEMPHASIS)
    emphasized[:, 1:] = frames[:, 1:] - PREEMPHASIS * frames[:, :-1]
    emphasized *= extractor.window
    spectrum = np.asarray(scipy.fft.rfft(emphasized, TRANSFORM), np.complex64)
    power = np.abs(spectrum, dtype=np.float64) ** 2
    # Transposed as in the extractor: the order of sums decides the last bit.
    bins = np.log(np.maximum(FLOOR, np.dot(extractor.mel_filters.T, power.T))).astype(np.float32).T
    if standardize:
        bins = (bins - bins.mean(0)[None]) / np.sqrt(bins.var(0, ddof=1)[None] + 1e-7)
    count, stride = len(bins), extractor.stride
    bins = np.pad(bins, ((0, count % PAIR), (0, 0)), constant_values=extractor.padding_value)
    stacked = bins[: len(bins) - len(bins) % stride].reshape(-1, bins.shape[1] * stride)
    return stacked[np.arange(len(stacked)) * stride + 1 < count].astype(np.float32)
