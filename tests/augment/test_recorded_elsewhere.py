"""Features as if a clip had been recorded elsewhere, beside those of a waveform that was."""

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from mmer.audio.load import load_audio
from mmer.augment.recorded_elsewhere import Place, noise_spectrum, recorded_elsewhere
from mmer.features.compact import LEVEL_SHARE, compact_features, with_level, without_level
from mmer.features.log_mel import log_mel
from mmer.features.model_files import LogMelExtractor

EXTRACTOR = LogMelExtractor(num_mel_bins=80, padding_value=0.0, sampling_rate=16_000, stride=1)
SILENT = noise_spectrum(0, 120)
FLAT = np.zeros(80)
HERE = Place(FLAT, 0.5, 0.0, SILENT, FLAT)
EDGES = 700 * (np.exp(np.linspace(np.log(1 + 20 / 700), np.log(1 + 8000 / 700), 82)) - 1)
CENTERS, WIDTHS = EDGES[1:-1], (EDGES[2:] - EDGES[:-2]) / 2
"""Hz, of the mel bins."""


def frames_of(waveform: np.ndarray) -> np.ndarray:
    waveform = waveform.astype(np.float32)
    return compact_features(log_mel(waveform, EXTRACTOR, standardize=False), waveform)


def changed(frames: np.ndarray, place: Place) -> np.ndarray:
    return place.change(frames, np.random.default_rng(0))


@pytest.fixture(scope="module")
def clips(nemo_samples: Path) -> list[np.ndarray]:
    return [load_audio(path).astype(np.float64) for path in sorted(nemo_samples.glob("*.opus"))[::400]]


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_the_level_comes_back(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    mel, voice = random.uniform(0, 20, (count, 80)), random.uniform(-15, 0, (count, 3))
    back = with_level(without_level(mel.astype(np.float32), voice.astype(np.float32)))
    np.testing.assert_allclose(back[0], mel, atol=1e-4)
    np.testing.assert_allclose(back[1], voice, atol=1e-4)


def test_here_nothing_changes(clips: list[np.ndarray]) -> None:
    for clip in clips:
        frames = frames_of(clip)
        np.testing.assert_allclose(changed(frames, HERE), frames, atol=0.05)


@pytest.mark.parametrize(("color", "decibels"), [(0, 10), (1, 20)])
def test_noise_is_that_of_the_waveform(clips: list[np.ndarray], color: float, decibels: float) -> None:
    random, differences = np.random.default_rng(0), []
    for clip in clips:
        spectrum = np.fft.rfft(random.standard_normal(len(clip)))
        spectrum[1:] /= np.arange(1, len(spectrum)) ** (color / 2)
        spectrum[0] = 0
        noise = np.fft.irfft(spectrum, len(clip))
        noisy = clip + noise * np.sqrt(np.mean(clip**2) / np.mean(noise**2)) * 10 ** (-decibels / 20)
        place = Place(FLAT, 0.5, 0.0, noise_spectrum(color, decibels), FLAT)
        before, after, expected = frames_of(clip), changed(frames_of(clip), place), frames_of(noisy)
        differences.append([np.abs((each - expected).mean(axis=0)[5:80]).mean() for each in (before, after)])
        assert np.corrcoef(after[:, 81], expected[:, 81])[0, 1] > 0.9  # periodicity
        assert np.abs(after[:, 82] - expected[:, 82]).mean() < 0.4  # energy
        assert np.mean(np.isnan(after[:, 80]) == np.isnan(expected[:, 80])) > 0.9
    before, after = np.mean(differences, axis=0)
    assert after < 0.3 < 1.0 < before


def test_a_line_is_that_of_the_waveform(clips: list[np.ndarray]) -> None:
    telephone = scipy.signal.butter(4, 300, "high", fs=16_000, output="sos")
    frequencies, response = map(np.asarray, scipy.signal.freqz_sos(telephone, 4000, fs=16_000))
    mel = 1127 * np.log(1 + frequencies / 700)
    edges = np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8000 / 700), 82)
    power = np.array(
        [
            np.mean(np.abs(response[(mel >= low) & (mel <= high)]) ** 2)
            for low, high in zip(edges, edges[2:], strict=False)
        ]
    )
    by_line = Place(FLAT, 0.5, 0.0, SILENT, np.log(power))
    by_microphone = Place(np.log(power), 0.5, 0.0, SILENT, FLAT)
    for clip in clips:
        expected, _ = with_level(frames_of(np.asarray(scipy.signal.sosfilt(telephone, clip))))
        for place in (by_line, by_microphone):
            after, _ = with_level(changed(frames_of(clip), place))
            assert np.abs(after - expected)[:, 10:].mean() < 0.1


def test_a_line_carries_the_noise_too() -> None:
    mel, voice = np.full((50, 80), 12.0, np.float32), np.full((50, 3), [7.0, 0.9, -3.0], np.float32)
    frames, noise = without_level(mel, voice), noise_spectrum(0, 10)
    deaf = np.where(np.arange(80) < 60, 0.0, -100.0)
    after, _ = with_level(changed(frames, Place(FLAT, 0.5, 0.0, noise, deaf)))
    free, _ = with_level(changed(frames, Place(FLAT, 0.5, 0.0, noise, FLAT)))
    np.testing.assert_allclose(after[:, 60:], 0.0, atol=1e-5)  # digital silence
    np.testing.assert_allclose(after[:, :60], free[:, :60], atol=1e-4)


def test_a_room_is_heard_in_the_frames_after() -> None:
    mel = np.full((50, 80), 1.0, np.float32)
    mel[10] = 15.0
    voice = np.stack([np.full(50, 7.0), np.full(50, 0.9), mel[:, 0] - 20], axis=1).astype(np.float32)
    place = Place(FLAT, 0.8, 0.5, SILENT, FLAT)
    heard, voices = with_level(changed(without_level(mel, voice), place))
    power, echo = np.exp(mel[:, 40].astype(np.float64)), 0.0
    for frame in range(50):
        expected = np.log(power[frame] + echo)
        np.testing.assert_allclose(heard[frame, 40], expected, atol=1e-3)
        np.testing.assert_allclose(voices[frame, 1], 0.9 * power[frame] / np.exp(expected), atol=1e-3)
        np.testing.assert_allclose(voices[frame, 2], expected - 20, atol=1e-3)
        echo = 0.8 * echo + 0.2 * 0.5 * power[frame]
    assert np.isnan(voices[11, 0])
    assert voices[10, 0] == 7.0


def test_a_place_is_drawn_by_its_seed(clips: list[np.ndarray]) -> None:
    frames = frames_of(clips[0])
    drawn = [recorded_elsewhere(frames, seed) for seed in range(40)]
    assert len({each.tobytes() for each in drawn}) == 40
    assert np.array_equal(recorded_elsewhere(frames, 7), drawn[7], equal_nan=True)
    for each in drawn:
        assert each.shape == frames.shape
        assert each.dtype == np.float32
        assert np.isfinite(each[:, [*range(80), 81, 82]]).all()
        assert not np.isfinite(each[np.isnan(frames[:, 80]), 80]).any()
        assert (each[:, 81] <= frames[:, 81]).all()
    assert recorded_elsewhere(frames[:1], 0).shape == (1, 83)


def test_a_louder_clip_is_changed_alike() -> None:
    random = np.random.default_rng(0)
    mel = random.uniform(8, 20, (60, 80)).astype(np.float32)
    voice = random.uniform([6, 0, -8], [8, 1, 0], (60, 3)).astype(np.float32)
    quiet, loud = without_level(mel, voice), without_level(mel + 3, voice + np.array([0, 0, 3], np.float32))
    place = Place(np.linspace(-1, 1, 80), 0.8, 0.5, noise_spectrum(1, 10), np.linspace(-2, 0, 80))
    higher = changed(loud, place) - changed(quiet, place)
    np.testing.assert_allclose(higher[:, [*range(80), 82]], (1 - LEVEL_SHARE) * 3, atol=1e-3)


def test_pitch_is_lost_where_it_is_no_longer_heard() -> None:
    below = np.array([0.0, 6.9, 7.1, 0.0, 0.0])
    mel = np.repeat(12.0 - below[:, None], 80, axis=1).astype(np.float32)
    periodicity = [0.9, 0.9, 0.9, 0.51, 0.49]
    voice = np.stack([np.full(5, 7.0), periodicity, -3.0 - below], axis=1).astype(np.float32)
    after = changed(without_level(mel, voice), HERE)
    np.testing.assert_array_equal(np.isfinite(after[:, 80]), [True, True, False, True, False])


def test_the_noise_of_a_bin_varies_as_much_as_it_is_wide() -> None:
    frames = without_level(np.full((20_000, 80), -20.0, np.float32), np.zeros((20_000, 3), np.float32))
    frames[0, :80] = 20.0
    mel, _ = with_level(changed(frames, Place(FLAT, 0.5, 0.0, noise_spectrum(0, 0), FLAT)))
    power = np.exp(mel[1:].astype(np.float64))
    # A window of 400 samples has independent powers 40 Hz apart, of which a bin averages those within its width.
    powers = np.maximum(1.0, WIDTHS / 40)
    np.testing.assert_allclose(power.mean(axis=0) ** 2 / power.var(axis=0), powers, rtol=0.1)


def test_places_differ_as_they_are_said_to() -> None:
    places = [Place.drawn(np.random.default_rng(seed)) for seed in range(400)]
    tilts = np.array([place.microphone[79] for place in places]) * 10 / np.log(10)
    assert np.mean(tilts != 0) == pytest.approx(0.5, abs=0.1)
    assert -4 <= tilts.min() < -3.8
    assert 3.8 < tilts.max() <= 4
    reflected = 10 * np.log10([place.reflected for place in places if place.reflected])
    assert -14 <= reflected.min() < -13.5
    assert -0.5 < reflected.max() <= 0
    slopes = [-np.polyfit(np.log(CENTERS), np.log(place.noise / WIDTHS), 1)[0] for place in places]
    assert 0 <= min(slopes) < 0.1
    assert 1.9 < max(slopes) <= 2
    lines = np.array([place.line for place in places if place.line.any()]) * 10 / np.log(10)
    low = CENTERS[79] * 2 ** (lines[:, 79] / 200)
    low = low[low < CENTERS[79] - 1]
    assert 3000 <= low.min() < 3100
    assert low.max() > 7600
    high = CENTERS[0] * 2 ** (-lines[:, 0] / 24)
    assert 330 < high.max() <= 350
    assert high.min() < 50
    assert np.mean([place.reflected > 0 for place in places]) == pytest.approx(0.5, abs=0.1)
    assert np.mean([place.line[79] < -1 for place in places]) == pytest.approx(0.5, abs=0.15)
    noise = -10 * np.log10([place.noise.sum() for place in places])
    assert 5 <= noise.min() < 8
    assert 42 < noise.max() <= 45
    seconds = np.array([-0.06 / np.log10(place.decay) for place in places])
    assert 0.15 <= seconds.min() < 0.18
    assert 0.67 < seconds.max() <= 0.7
