"""Views of the compact encoder's features."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from mmer.augment import FeatureAugmenter
from mmer.augment.features import as_another_speaker

OFF: dict[str, Any] = {
    "warp": 0.0,
    "shift": 0.0,
    "tempo": 0.0,
    "frequency_mask": 0,
    "time_mask": 0,
    "prosody_offset": 0.0,
}
ALL: dict[str, Any] = OFF | {
    "warp": 0.12,
    "shift": 3.0,
    "tempo": 0.15,
    "frequency_mask": 12,
    "time_mask": 20,
    "prosody_offset": 0.2,
}


def features(frames: int, stacked: int = 4) -> np.ndarray:
    random = np.random.default_rng(frames)
    return random.normal(size=(frames, stacked * 83)).astype(np.float32)


@given(frames=st.integers(1, 80), stacked=st.sampled_from([2, 4]), seed=st.integers(0, 1000))
def test_a_view_is_finite_repeatable_and_within_the_tempo(frames: int, stacked: int, seed: int) -> None:
    clip = features(frames, stacked)
    before = clip.copy()
    view = FeatureAugmenter(**ALL)(clip, seed)
    assert view.dtype == np.float32
    assert view.shape[1] == clip.shape[1]
    assert np.isfinite(view).all()
    assert round(frames * np.exp(-0.15)) <= len(view) <= max(1, round(frames * np.exp(0.15)))
    np.testing.assert_array_equal(view, FeatureAugmenter(**ALL)(clip, seed))
    np.testing.assert_array_equal(clip, before)


def test_without_changes_it_is_the_clip() -> None:
    clip = features(30)
    np.testing.assert_allclose(FeatureAugmenter(**OFF)(clip, 1), clip, atol=1e-6)


def test_an_offset_moves_the_voice_of_a_clip_and_leaves_unvoiced_frames() -> None:
    clip = features(30, stacked=1)
    clip[::3, 80] = 0
    moved = (FeatureAugmenter(**{**OFF, "prosody_offset": 1.0})(clip, 1) - clip)[:, 80:]
    assert (moved[::3, 0] == 0).all()
    assert len(set(np.abs(moved[1]).round(4)) - {0.0}) == 3
    np.testing.assert_allclose(np.delete(moved, np.s_[::3], axis=0), moved[1] + np.zeros((20, 3)), atol=1e-6)
    np.testing.assert_allclose(moved[:, 1:], moved[:1, 1:] + np.zeros((30, 2)), atol=1e-6)


def test_a_shift_moves_every_mel_bin_by_the_same_amount() -> None:
    clip = features(10)
    clip[:, : 4 * 83] = np.tile(np.concatenate([np.arange(80), [0, 0, 0]]), 4)
    view = FeatureAugmenter(**{**OFF, "shift": 3.0})(clip, 5)
    bins = view[0, 5:75] - np.arange(5, 75)
    assert 0.05 < abs(bins[0]) <= 3
    np.testing.assert_allclose(bins, bins[0], atol=1e-4)


@pytest.mark.parametrize(("setting", "rows"), [("time_mask", 0), ("frequency_mask", 1)])
def test_masks_are_spans_of_zeros(setting: str, rows: int) -> None:
    clip = features(40) + 10
    most = 0
    for seed in range(30):
        mel = FeatureAugmenter(**{**OFF, setting: 12})(clip, seed)[:, : 4 * 83].reshape(-1, 83)[:, :80]
        empty = (mel == 0).all(axis=1 - rows)
        assert ((mel == 0) == (empty[:, None] if rows == 0 else empty[None, :])).all()
        most = max(most, int(empty.sum()))
    assert 12 < most <= 24


@pytest.mark.parametrize("frames", [1, 2, 60])
def test_tempo_and_vocal_tract_are_bilinear_interpolation(frames: int) -> None:
    """As by `map_coordinates`, whose places are drawn as the augmenter draws them."""
    clip = features(frames)
    view = FeatureAugmenter(**{**OFF, "warp": 0.12, "shift": 3.0, "tempo": 0.15})(clip, 3)
    random = np.random.default_rng(3)
    count = max(1, round(frames * np.exp(random.uniform(-0.15, 0.15)))) * 4
    times = np.linspace(0, 4 * frames - 1, count)
    bins = np.clip(np.arange(80) * np.exp(random.uniform(-0.12, 0.12)) + random.uniform(-3.0, 3.0), 0, 79)
    fine = clip.reshape(-1, 83)
    expected = map_coordinates(fine[:, :80], np.meshgrid(times, bins, indexing="ij"), order=1, mode="nearest")
    np.testing.assert_allclose(view.reshape(-1, 83)[:, :80], expected, atol=1e-5)


@given(count=st.integers(1, 60), seed=st.integers(0, 1000))
def test_another_speaker_has_another_pitch_level_and_vocal_tract(count: int, seed: int) -> None:
    clip = features(count, stacked=1)
    clip[::3, 80] = np.nan  # unvoiced
    before = clip.copy()
    other = as_another_speaker(clip, seed)
    np.testing.assert_array_equal(clip, before)
    np.testing.assert_array_equal(other, as_another_speaker(clip, seed))
    assert not np.array_equal(other[:, :80].mean(), as_another_speaker(clip, seed + 1)[:, :80].mean())
    assert other.shape[1] == 83
    assert max(2, np.floor(count * np.exp(-0.15))) <= len(other) <= max(2, np.ceil(count * np.exp(0.15)))
    nearest = clip[np.rint(np.linspace(0, count - 1, len(other))).astype(int)]
    np.testing.assert_array_equal(np.isnan(other), np.isnan(nearest))
    shift = other[:, 80:] - nearest[:, 80:]
    assert np.nanmax(np.abs(shift[:, 1])) == 0  # how periodic a voice is tells an emotion
    for channel in (0, 2):
        same = shift[:, channel][np.isfinite(shift[:, channel])]
        np.testing.assert_allclose(same, same[:1].repeat(len(same)), atol=1e-5)


def test_a_vowel_of_another_speaker_is_a_steady_vowel() -> None:
    """A spectral peak moves along the mel axis, between level and tilt, which change every frame alike."""
    mel = np.exp(-(((np.arange(80) - 40) / 4) ** 2)) * 20
    vowel = np.tile(np.concatenate([mel, [7, 0.9, 3]]), (50, 1)).astype(np.float32)
    peaks = set()
    for seed in range(20):
        other = as_another_speaker(vowel, seed)
        np.testing.assert_allclose(other, np.tile(other[0], (len(other), 1)), atol=1e-4)
        peaks.add(int(other[0, :80].argmax()))
        assert abs(other[0, :80].argmax() - 40) <= np.ceil(40 * (np.exp(0.16) - 1) + 4)
    assert len(peaks) > 8
    assert min(peaks) < 38
    assert max(peaks) > 42
