"""Resonances against their definition, one frame and one point at a time."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import solve_toeplitz

from mmer.features.log_mel import MEL_BINS
from mmer.features.resonances import resonances


def slowly(mel: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of the first three peaks of one frame's all-pole curve: (place, level, how much it bends there), (3, 3)."""
    power = np.exp(mel.astype(float) - mel.max())
    bins = np.pi * (np.arange(MEL_BINS) + 0.5) / MEL_BINS
    lags = np.array([np.sum(power * np.cos(lag * bins)) for lag in range(13)])
    lags[0] *= 1 + 1e-6
    inverse = np.array([1.0, *solve_toeplitz(lags[:-1], -lags[1:])])
    waves = np.exp(1j * np.pi / 128 * np.outer(np.arange(129), np.arange(13)))
    curve = -np.log(abs(waves @ inverse) ** 2 + 1e-12)
    found = []
    for point in range(5, 128):
        if curve[point - 1] < curve[point] >= curve[point + 1] and len(found) < 3:
            square, slope, _ = np.polyfit([-1, 0, 1], curve[point - 1 : point + 2], 2)
            found.append((point - slope / (2 * square), curve[point] - curve.mean(), -2 * square))
    return np.array(found + [(np.nan,) * 3] * (3 - len(found)))


def frames(count: int, peaks: int, loudness: float, seed: int) -> NDArray[np.float32]:
    """Spectra with so many broad peaks in a little noise, all of them so loud; each is 35 dB above the rest."""
    chance = np.random.default_rng(seed)
    centers = chance.uniform(0, MEL_BINS, (count, peaks, 1))
    hills = np.exp(-(((np.arange(MEL_BINS) - centers) / chance.uniform(2, 6, (count, peaks, 1))) ** 2))
    mel = loudness + (8 * hills).max(axis=1) + chance.normal(0, 0.1, (count, MEL_BINS))
    return mel.astype(np.float32)


# The same frames each time: of 30 000, one had a peak so flat that single precision decides whether it is one.
@settings(derandomize=True)
@given(
    count=st.integers(1, 4),
    peaks=st.integers(1, 6),
    loudness=st.floats(0, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_frame(count: int, peaks: int, loudness: float, seed: int) -> None:
    mel = frames(count, peaks, loudness, seed)
    place, level, bend = np.array([slowly(frame) for frame in mel]).transpose(2, 0, 1)
    found = resonances(mel)
    assert found.shape == (count, 6)
    np.testing.assert_array_equal(np.isnan(found[:, :3]), np.isnan(place))
    np.testing.assert_allclose(found[:, 3:], level, atol=0.05)
    # In single precision, the place of a flat peak is less certain.
    assert np.nanmax(np.abs(found[:, :3] - place) / (0.02 + 0.02 / bend), initial=0) < 1


def test_a_flat_spectrum_has_no_resonances() -> None:
    assert np.isnan(resonances(np.full((2, MEL_BINS), 3.0, np.float32))).all()
    assert resonances(np.zeros((0, MEL_BINS), np.float32)).shape == (0, 6)
