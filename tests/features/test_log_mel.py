"""The same log-mel features as transformers makes, frame by frame."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import SeamlessM4TFeatureExtractor

from mmer.features.log_mel import log_mel


def slowly(waveform: np.ndarray, extractor: SeamlessM4TFeatureExtractor, standardize: bool) -> np.ndarray:
    made = extractor(
        waveform, sampling_rate=16_000, return_tensors="np", do_normalize_per_mel_bins=standardize
    )
    return made["input_features"][0][made["attention_mask"][0].astype(bool)].astype(np.float32)


@pytest.mark.parametrize("stride", [2, 3, 4])
@settings(max_examples=25)
@given(
    frames=st.integers(2, 40),
    more=st.integers(0, 159),
    level=st.sampled_from([0.0, 1e-4, 0.1, 1.0]),
    standardize=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_frame(stride: int, frames: int, more: int, level: float, standardize: bool, seed: int) -> None:
    extractor = SeamlessM4TFeatureExtractor(stride=stride)
    samples = 240 + 160 * frames + more
    waveform = (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)
    made, expected = log_mel(waveform, extractor, standardize), slowly(waveform, extractor, standardize)
    assert made.dtype == expected.dtype
    # A bin that hardly varies is divided by as little as the square root of 1e-7.
    assert made == pytest.approx(expected, rel=0, abs=1e-2 if standardize else 1e-5)
