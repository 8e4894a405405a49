"""Stereo whose channels cancel, surround sound, and channels that say nothing."""

import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from audio.test_audio import RATE, encode, speech_like
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmer.audio.load import (
    as_waveform,
    as_waveform_with_warnings,
    load_audio,
    load_with_warnings,
    stream_audio,
)
from mmer.corpora.clips import read_clips
from mmer.corpora.corpus import Corpus

Sound = NDArray[np.float32]


def level(waveform: Sound, reference: Sound) -> float:
    """dB above a reference."""
    return 10 * np.log10(np.mean(np.square(waveform)) / np.mean(np.square(reference)))


def shifted(sound: Sound, milliseconds: float) -> Sound:
    behind = round(milliseconds * RATE / 1000)
    return np.concatenate([np.zeros(behind, np.float32), sound[: len(sound) - behind]])


def hum(sound: Sound) -> Sound:
    return (0.1 * np.sin(2 * np.pi * 50 * np.arange(len(sound)) / RATE)).astype(np.float32)


VOICE = speech_like(2.0)
CANCELLING: dict[str, Callable[[Sound], list[Any]]] = {
    "inverted": lambda voice: [voice, -voice],
    "inverted and quieter": lambda voice: [voice, -0.9 * voice],
    "the left one is quieter": lambda voice: [-0.9 * voice, voice],
    "inverted and noisy": lambda voice: [voice, -0.9 * voice + 0.02 * speech_like(2.0, seed=5)],
    "inverted and 0.1 ms behind": lambda voice: [voice, -0.9 * shifted(voice, 0.1)],
    "inverted and 5 ms behind": lambda voice: [voice, -shifted(voice, 5)],
    "8 ms ahead": lambda voice: [shifted(voice, 8), voice],
}


@pytest.mark.parametrize("name", CANCELLING)
def test_channels_that_cancel(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack(CANCELLING[name](VOICE), 1), RATE, subtype="FLOAT")
    found = load_with_warnings(path)
    soundfile.write(tmp_path / "mono.wav", VOICE, RATE, subtype="FLOAT")
    assert level(found.waveform, load_audio(tmp_path / "mono.wav")) == pytest.approx(0, abs=0.2)
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("channels cancel: ")
    assert found.warnings[0].endswith("it is left out of the mix")


def test_the_warning_says_which_and_how_far(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([VOICE, -0.9 * shifted(VOICE, 5)], 1), RATE)
    (warning,) = load_with_warnings(path).warnings
    assert warning.startswith(
        "channels cancel: right is left inverted, shifted by 5.0 ms (correlation -0.9"
    ), warning


def test_a_hum_in_both_channels_hides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([VOICE + hum(VOICE), -VOICE + hum(VOICE)], 1), RATE)
    assert "left out of the mix" in load_with_warnings(path).warnings[0]


@pytest.mark.parametrize(
    "sides",
    [
        [VOICE, VOICE],
        [VOICE, 0.5 * VOICE],
        [VOICE, 0 * VOICE],
        [VOICE, -0.01 * VOICE],
        [VOICE, speech_like(2.0, seed=1)],
        [np.sin(np.arange(RATE) / 17), np.sin(np.arange(RATE) / 17)],
    ],
    ids=["copies", "quieter copy", "silent", "crosstalk", "two voices", "tone"],
)
def test_others_are_their_mean(tmp_path: Path, sides: list[Sound]) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack(sides, 1), RATE, subtype="FLOAT")
    mean = np.stack(sides).astype(np.float32).mean(axis=0)
    np.testing.assert_array_equal(load_audio(path, sampling_rate=RATE), mean)
    assert not [w for w in load_with_warnings(path).warnings if "cancel" in w]


def test_real_voices_of_two_people_do_not_cancel(nemo_samples: Path) -> None:
    clips = [load_audio(path) for path in sorted(nemo_samples.glob("*.opus"))[::150]]
    for left, right in pairwise(clips):
        length = min(len(left), len(right))
        both = np.stack([left[:length], right[:length]])
        assert as_waveform_with_warnings(both, 16_000, name="call").warnings == []
        inverted = as_waveform_with_warnings(np.stack([left, -0.9 * left]), 16_000, name="call")
        assert inverted.warnings[0].startswith("channels cancel: right is left inverted (correlation -1.00)")
        np.testing.assert_array_equal(inverted.waveform, left)


@given(st.floats(-1, 1), st.integers(0, 20), st.booleans())
@settings(max_examples=40, deadline=None)
def test_no_second_channel_makes_a_voice_inaudible(gain: float, behind: int, swap: bool) -> None:
    """The quietest mix is that with silence, half of the voice, as far as the copies can be told from it."""
    sides = [VOICE, (gain * shifted(VOICE, behind)).astype(np.float32)]
    mixed = as_waveform(np.stack(sides[::-1] if swap else sides), RATE, name="a", target_rate=RATE)
    assert level(mixed, VOICE) > -10.5


def test_streams_decide_as_whole_files_do(tmp_path: Path) -> None:
    """Also where only a part of a long recording is inverted, and at its short end."""
    voice = speech_like(33.0)
    other = voice.copy()
    other[15 * RATE :] *= -1
    path = tmp_path / "a.flac"
    soundfile.write(path, np.stack([voice, other], 1), RATE)
    whole = load_audio(path, sampling_rate=RATE)
    np.testing.assert_array_equal(np.concatenate(list(stream_audio(path, sampling_rate=RATE))), whole)
    for begin in (2, 17, 22, 32):
        part = slice(begin * RATE, (begin + 1) * RATE)
        assert level(whole[part], voice[part]) == pytest.approx(0, abs=0.5)
        assert whole[part] @ voice[part] > 0, "it changes from one of two equally loud channels to the other"
    (warning,) = load_with_warnings(path).warnings  # although three blocks are mixed so
    assert warning.startswith("channels cancel: right is left inverted (correlation -1.00)")


SURROUND = ["FL", "FR", "FC", "LFE", "SL", "SR"]


def in_surround(**channels: Sound) -> Sound:
    return np.stack([channels.get(name, np.zeros_like(VOICE)) for name in SURROUND])


def five_one(path: Path, sound: Sound) -> Path:
    """A 5.1 recording in the format that the name stands for."""
    if path.suffix == ".mka":
        return encode(path, "flac", sound, layout="5.1(side)")
    if path.suffix == ".m4a":
        return encode(path, "aac", sound, layout="5.1(side)", bit_rate="512000")
    kind = {".wav": "WAV", ".wavex": "WAVEX", ".flac": "FLAC"}[path.suffix]
    soundfile.write(path, sound.T, RATE, format=kind)
    return path


@pytest.mark.parametrize("name", ["a.wav", "a.wavex", "a.flac", "a.mka"])
@pytest.mark.parametrize(
    "sound",
    [
        in_surround(FC=VOICE),
        in_surround(FL=VOICE, FR=VOICE),
        in_surround(FL=VOICE),
        in_surround(**dict.fromkeys(["FL", "FR", "FC", "SL", "SR"], VOICE)),
        in_surround(FC=VOICE, FL=0.05 * speech_like(2.0, seed=1), FR=0.05 * speech_like(2.0, seed=2)),
        in_surround(FC=VOICE, FL=-0.9 * VOICE, FR=-0.9 * VOICE),
    ],
    ids=["center", "front", "left", "all", "center and ambience", "center against front"],
)
def test_a_voice_in_surround_sound_keeps_its_level(tmp_path: Path, name: str, sound: Sound) -> None:
    found = load_audio(five_one(tmp_path / name, sound), sampling_rate=RATE)
    assert level(found, VOICE) == pytest.approx(0, abs=0.3)


def test_the_center_is_louder_than_the_sides(tmp_path: Path) -> None:
    """1 to 0.707 to 0.5, and nothing of the channel for low frequencies."""
    voices = {name: speech_like(2.0, seed=seed) for seed, name in enumerate(SURROUND)}
    found = load_audio(five_one(tmp_path / "a.flac", in_surround(**voices)), sampling_rate=RATE)
    fitted, *_ = np.linalg.lstsq(np.stack(list(voices.values()), 1), found)
    shares = dict(zip(voices, fitted, strict=True))
    expected = {"FC": 1.0, "FL": 0.707, "FR": 0.707, "SL": 0.5, "SR": 0.5, "LFE": 0.0}
    for name, share in expected.items():
        assert shares[name] / shares["FC"] == pytest.approx(share, abs=0.03), name


def test_loud_surround_sound_is_not_clipped(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    loud = np.clip(0.5 * generator.standard_normal((6, RATE)), -0.95, 0.95).astype(np.float32)
    found = load_with_warnings(five_one(tmp_path / "a.wav", loud), sampling_rate=RATE)
    assert np.abs(found.waveform).max() <= 1.0001
    assert found.warnings == []


def test_a_microphone_of_eight_without_layout_is_heard(tmp_path: Path) -> None:
    sound = np.zeros((8, len(VOICE)), np.float32)
    sound[3] = VOICE
    soundfile.write(tmp_path / "a.wav", sound.T, RATE, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav", sampling_rate=RATE), VOICE, atol=1e-6)


def test_memory_and_files_agree(tmp_path: Path) -> None:
    sound = np.stack([VOICE, -0.9 * VOICE])
    file = io.BytesIO()
    soundfile.write(file, sound.T, RATE, format="WAV", subtype="FLOAT")
    assert load_with_warnings(file).warnings == as_waveform_with_warnings(sound, RATE, name="a").warnings
    np.testing.assert_array_equal(load_audio(file), as_waveform(sound, RATE, name="a"))


def test_corpora_are_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([VOICE, -VOICE], 1), RATE)
    corpus = Corpus(pd.DataFrame({"utterance_id": ["a"], "audio_path": [str(tmp_path / "a.wav")]}))
    (clip,) = read_clips(corpus.table).values()
    assert clip.warnings[0].startswith("channels cancel: ")
    assert clip.print is not None
