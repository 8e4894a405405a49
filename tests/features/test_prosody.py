"""Pitch of sounds whose pitch is known."""

from pathlib import Path

import numpy as np
import pytest
import scipy.fft
from numpy.typing import NDArray
from voices import buzz

from mmer.audio.load import load_audio
from mmer.features.prosody import (
    FILTER_WINDOW,
    HARMONICS,
    HOP,
    LONGEST_LAG,
    OCTAVE_COST,
    SAMPLING_RATE,
    SHORTEST_LAG,
    TRANSFORM,
    WINDOW,
    prosody,
)


@pytest.mark.parametrize("pitch", [75, 110, 180, 260, 440])
def test_pitch_of_a_steady_voice(pitch: int) -> None:
    track = prosody(buzz(pitch), 95)
    assert np.isfinite(track[:, 0]).all()
    np.testing.assert_allclose(2 ** track[5:-5, 0], pitch, rtol=0.03)
    assert (track[5:-5, 1] > 0.8).all()


def test_pitch_follows_a_step_where_it_happens() -> None:
    track = prosody(np.concatenate([buzz(120), buzz(240)]), 195)
    np.testing.assert_allclose(2 ** track[10:90, 0], 120, rtol=0.03)
    np.testing.assert_allclose(2 ** track[110:190, 0], 240, rtol=0.03)


def test_silence_and_noise_have_no_pitch() -> None:
    assert np.isnan(prosody(np.zeros(16_000, np.float32), 90)[:, 0]).all()
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    assert np.isnan(prosody(noise, 90)[:, 0]).mean() > 0.9


def test_a_frame_is_voiced_where_half_of_it_repeats_and_it_is_no_more_than_7_nats_below_the_loudest() -> None:
    noise = np.random.default_rng(0).normal(0, 1, 32_000).astype(np.float32)
    fading = np.exp(np.linspace(0, -8, 32_000, dtype=np.float32))
    pitch, periodicity, energy = prosody(
        ((buzz(150, seconds=2) + noise * np.linspace(0.1, 0.4, 32_000, dtype=np.float32)) * fading).astype(
            np.float32
        ),
        195,
    ).T
    doubtful = (periodicity > 0.4) & (periodicity < 0.6) & (energy > energy.max() - 7)
    assert np.count_nonzero(doubtful) > 20
    assert energy.min() < energy.max() - 10
    np.testing.assert_array_equal(np.isfinite(pitch), (periodicity > 0.5) & (energy > energy.max() - 7))


def test_energy_is_the_logarithm_of_the_variance() -> None:
    soft, loud = prosody(buzz(150), 90)[:, 2], prosody(buzz(150, amplitude=1.0), 90)[:, 2]
    np.testing.assert_allclose(loud - soft, np.log(100), atol=0.01)


@pytest.mark.parametrize(("start", "end"), [(-0.05, -0.05), (0.005, 0.005), (0.3, 0.3), (-0.02, 0.02)])
def test_an_offset_or_a_drift_changes_nothing(start: float, end: float) -> None:
    quiet = np.random.default_rng(0).normal(0, 1e-3, 4000).astype(np.float32)
    speech = np.concatenate([quiet, buzz(150), quiet])
    offset = np.linspace(start, end, len(speech), dtype=np.float32)
    changed, plain = (prosody(sound, 145) for sound in (speech + offset, speech))
    np.testing.assert_array_equal(np.isnan(changed), np.isnan(plain))
    np.testing.assert_allclose(changed[:, 2], plain[:, 2], atol=0.2)  # a drift is a part of quiet noise
    np.testing.assert_allclose(changed[30:115], plain[30:115], atol=0.01)


@pytest.mark.parametrize("samples", [1, 400, 880, 1600])
def test_short_clips_have_the_frames_asked_for(samples: int) -> None:
    assert prosody(buzz(200)[:samples], 4).shape == (4, 3)


def test_men_speak_lower_than_women(nemo_samples: Path) -> None:
    """The median pitch of real recordings, neutral: KS0 and TP0 are men, EB0 and IC0 women."""
    medians = {}
    for speaker in ("KS0", "TP0", "EB0", "IC0"):
        clips = sorted(nemo_samples.glob(f"{speaker}_neutral_*.opus"))[:8]
        tracks = [prosody(load_audio(clip), 100) for clip in clips]
        medians[speaker] = 2 ** np.nanmedian(np.concatenate(tracks)[:, 0])
    assert max(medians["KS0"], medians["TP0"]) < 160 < min(medians["EB0"], medians["IC0"]), medians


def full_rate(waveform: NDArray[np.float32], frames: int) -> NDArray[np.float64]:
    """Measure lag, periodicity and energy as `prosody` does, at 16 kHz and in double precision, one window a time."""
    start = (WINDOW - FILTER_WINDOW) // 2
    padded = np.pad((waveform - waveform.mean()).astype(float), (start, frames * HOP + WINDOW), mode="edge")
    window, lags = np.hanning(WINDOW), np.arange(SHORTEST_LAG, LONGEST_LAG)
    of_window = np.asarray(scipy.fft.irfft(np.abs(np.asarray(scipy.fft.rfft(window, TRANSFORM))) ** 2))
    rows = []
    for frame in range(frames):
        samples = padded[frame * HOP : frame * HOP + WINDOW]
        samples = samples - samples.mean()
        power = np.abs(np.asarray(scipy.fft.rfft(samples * window, TRANSFORM))) ** 2
        power[HARMONICS * TRANSFORM // SAMPLING_RATE :] = 0
        autocorrelation = np.asarray(scipy.fft.irfft(power))
        share = autocorrelation[lags] / (autocorrelation[0] + 1e-8)
        peaks = share * of_window[0] / of_window[lags] - OCTAVE_COST * lags
        rows.append((lags[peaks.argmax()], peaks.max(), np.log(samples.var() + 1e-8)))
    return np.array(rows)


def test_a_quarter_of_the_rate_loses_nothing(nemo_samples: Path) -> None:
    same, voiced = 0, 0
    for clip in sorted(nemo_samples.glob("*.opus"))[::150]:
        waveform = load_audio(clip)
        frames = len(waveform) // HOP - 1
        track, reference = prosody(waveform, frames), full_rate(waveform, frames)
        np.testing.assert_allclose(track[:, 1], reference[:, 1].clip(0, 1), atol=1e-3)
        np.testing.assert_allclose(track[:, 2], reference[:, 2], atol=1e-4)
        inner = ~np.isnan(track[2:-2, 0]) if frames > 4 else np.zeros(0, bool)
        medians = np.median(np.lib.stride_tricks.sliding_window_view(reference[:, 0], 5), axis=1)
        same += np.isclose(2 ** track[2:-2, 0], SAMPLING_RATE / medians)[inner].sum()
        voiced += inner.sum()
    assert voiced > 500
    assert same / voiced > 0.999
