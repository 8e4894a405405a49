"""The part of a clip in which something is heard."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from voices import buzz

from mmer.audio.load import load_audio
from mmer.features.heard import heard

RATE = 16_000


def silence(seconds: float, level: float = 0.0) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, level, round(seconds * RATE)).astype(np.float32)


@pytest.mark.parametrize("level", [0.0, 1e-5, 3e-4])
@pytest.mark.parametrize(("before", "after"), [(0.5, 0.0), (0.0, 2.0), (0.313, 1.7), (5.0, 5.0)])
def test_silence_at_the_ends_is_left_out(before: float, after: float, level: float) -> None:
    voice = buzz(150)
    clip = np.concatenate([silence(before, level), voice, silence(after, level)])
    part = heard(clip)
    start, end = round(before * RATE), round(before * RATE) + len(voice)
    # Half of a window that hears the voice may lie before it; 25 ms of the window count.
    assert start - 520 <= part.start <= start
    assert end <= part.stop <= end + 520


def test_pauses_between_words_stay() -> None:
    clip = np.concatenate([silence(1), buzz(150), silence(2), buzz(200), silence(1)])
    part = heard(clip)
    assert part.start == pytest.approx(1 * RATE, abs=520)
    assert part.stop == pytest.approx(5 * RATE, abs=520)


def test_soft_sounds_at_the_ends_stay() -> None:
    soft = silence(0.1, 0.02)  # 23 dB below the voice
    part = heard(np.concatenate([silence(1), soft, buzz(150), soft, silence(1)]))
    assert part.start == pytest.approx(1 * RATE, abs=520)
    assert part.stop == pytest.approx(2.2 * RATE, abs=520)


def test_speech_beside_a_loud_click_stays() -> None:
    clip = np.concatenate([buzz(150, amplitude=0.003), silence(0.1), silence(0.02, 0.9), silence(0.5)])
    assert heard(clip).start == 0


@pytest.mark.parametrize(("start", "end"), [(-0.05, -0.05), (0.3, 0.3), (-0.1, 0.1)])
def test_an_offset_or_a_drift_changes_nothing(start: float, end: float) -> None:
    clip = np.concatenate([silence(1, 1e-4), buzz(150), silence(1, 1e-4)])
    assert heard(clip + np.linspace(start, end, len(clip), dtype=np.float32)) == heard(clip)


@given(samples=st.integers(1, 3000), level=st.sampled_from([0.0, 1e-9, 1.0, 1e3]))
def test_sound_that_is_equally_loud_stays_whole(samples: int, level: float) -> None:
    clip = np.resize(np.array([level, -level], np.float32), samples)
    assert heard(clip) == slice(0, samples)


@given(rate=st.sampled_from([8000, 22_050, 44_100, 48_000]), before=st.floats(0, 1), after=st.floats(0, 1))
def test_other_sampling_rates(rate: int, before: float, after: float) -> None:
    time = np.arange(rate) / rate
    voice = np.sin(2 * np.pi * 200 * time).astype(np.float32)
    lead, tail = round(before * rate), round(after * rate)
    part = heard(np.pad(voice, (lead, tail)), rate)
    assert part.start / rate == pytest.approx(lead / rate, abs=0.04)
    assert part.stop / rate == pytest.approx((lead + len(voice)) / rate, abs=0.04)


def test_what_is_heard_of_a_recording_is_heard_wherever_it_was_cut(nemo_samples: Path) -> None:
    for file in sorted(nemo_samples.glob("*.opus"))[::300]:
        speech = load_audio(file)
        speech = speech[heard(speech)]
        longer = np.concatenate([silence(0.7, 1e-5), speech, silence(1.2, 1e-5)])
        part = heard(longer)
        assert part.start - 0.7 * RATE == pytest.approx(0, abs=520)
        assert part.stop - 0.7 * RATE == pytest.approx(len(speech), abs=520)
