"""Functionals of sounds that differ in one thing."""

import numpy as np

from mmer.model.functionals import FUNCTIONALS, functionals


def clip(pitch: list[float], energy: list[float] | None = None) -> np.ndarray:
    frames = len(pitch)
    voice = np.zeros((frames, 3), np.float32)
    voice[:, 0] = pitch
    voice[:, 1] = 0.9
    voice[:, 2] = energy if energy is not None else np.linspace(-2, -1, frames)
    log_mel = np.random.default_rng(0).normal(8, 1, (frames, 80)).astype(np.float32)
    return functionals(log_mel, voice)


def test_the_first_are_the_distribution_and_the_movement_of_pitch() -> None:
    """Pitch 7, 8, 9, 8 in octaves above 1 Hz: two rises and a fall of one octave, and no change after the last."""
    values = clip([7.0, 8.0, 9.0, 8.0, 8.0])
    np.testing.assert_allclose(values[:2], [8.0, float(np.std([7, 8, 9, 8, 8]))], rtol=1e-6)
    np.testing.assert_allclose(values[2:5], np.percentile([7, 8, 9, 8, 8], [20, 50, 80]), rtol=1e-6)
    np.testing.assert_allclose(values[5:8], [1.0, -1.0, 3 / 5], rtol=1e-6)


def test_a_clip_without_voice_and_a_clip_of_one_frame_have_numbers() -> None:
    for values in (clip([np.nan] * 20), clip([7.0]), clip([np.nan])):
        assert values.shape == (FUNCTIONALS,)
        assert np.isfinite(values).all()


def test_frames_without_voice_do_not_change_the_pitch() -> None:
    np.testing.assert_allclose(clip([7.0, 8.0, np.nan, np.nan])[:5], clip([7.0, 8.0])[:5])
