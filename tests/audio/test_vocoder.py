"""A flat voice, measured on made voices whose melody and stress are known."""

import numpy as np
import pytest

from mmer.audio.vocoder import flatten

pyworld = pytest.importorskip("pyworld")
RATE = 16_000


def lively() -> np.ndarray:
    """(samples,) two seconds of harmonics gliding from 110 to 260 Hz, every half second twice as loud, one pause."""
    time = np.arange(2 * RATE) / RATE
    phase = 2 * np.pi * np.cumsum(110 + 75 * time) / RATE
    sound = sum(np.sin(k * phase) / k for k in range(1, 12))
    sound *= 0.05 * 2.0 ** np.floor(2 * time)
    sound[int(0.9 * RATE) : int(1.15 * RATE)] *= 1e-3
    noise = 1e-4 * np.random.default_rng(0).standard_normal(len(time))
    return (sound + noise).astype(np.float32)


def pitch(waveform: np.ndarray) -> np.ndarray:
    samples = waveform.astype(float)
    coarse, times = pyworld.dio(samples, RATE)
    track = pyworld.stonemask(samples, coarse, times, RATE)
    return track[track > 0]


def level(waveform: np.ndarray, start: float, end: float) -> float:
    part = waveform[int(start * RATE) : int(end * RATE)]
    return float(20 * np.log10(np.sqrt(np.mean(np.square(part, dtype=float)))))


def test_melody_and_stress_are_gone_and_the_pause_is_not():
    before = lively()
    after = flatten(before)
    assert len(after) == len(before)
    assert np.quantile(pitch(before), 0.9) / np.quantile(pitch(before), 0.1) > 1.6
    assert np.quantile(pitch(after), 0.9) / np.quantile(pitch(after), 0.1) < 1.03
    assert np.median(pitch(after)) == pytest.approx(np.median(pitch(before)), rel=0.05)
    assert level(before, 1.6, 1.9) - level(before, 0.1, 0.4) > 15
    assert abs(level(after, 1.6, 1.9) - level(after, 0.1, 0.4)) < 6
    assert level(after, 0.98, 1.08) < level(after, 0.1, 0.4) - 15
    assert level(after, 0, 2) == pytest.approx(level(before, 0, 2), abs=0.1)


def test_speed_and_level():
    before = lively()
    after = flatten(before, rate=0.5, level=0.1)
    assert len(after) == pytest.approx(2 * len(before), abs=RATE // 100)
    assert level(after, 0, 4) == pytest.approx(level(before, 0, 2) - 20, abs=0.5)


def test_silence_stays_silence():
    assert np.abs(flatten(np.zeros(RATE, np.float32))).max() < 1e-6
