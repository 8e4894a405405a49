import sys

import numpy as np
import pytest
import soundfile

from mmer.audio.vocoder import resynthesize
from mmer.augment.generators.by_name import Perturbation, speech_generators, text_generator
from mmer.augment.generators.effects import CODECS, Effects, through_codec
from mmer.augment.generators.espeak_voices import ESpeakVoices
from mmer.augment.generators.generator import Material
from mmer.augment.generators.world import World
from mmer.errors import MissingExtraError, MMERError

RATE = 16_000


@pytest.fixture(scope="module")
def clips(nemo_samples):
    """Real recordings of 0.9-5.7 s."""
    return [soundfile.read(path, dtype="float32")[0] for path in sorted(nemo_samples.glob("*.opus"))[::600]]


def vowel(pitch=120.0, formants=(700.0, 1200.0, 2600.0), seconds=1.0):
    """(samples,) pulses through three resonances."""
    pulses = np.zeros(round(seconds * RATE))
    pulses[(np.arange(0, seconds, 1 / pitch) * RATE).astype(int)] = 1.0
    for frequency in formants:
        radius, angle = np.exp(-np.pi * 80 / RATE), 2 * np.pi * frequency / RATE
        out = np.zeros_like(pulses)
        for n, pulse in enumerate(pulses):
            out[n] = pulse + 2 * radius * np.cos(angle) * out[n - 1] - radius**2 * out[n - 2]
        pulses = out
    return (0.5 * pulses / np.abs(pulses).max()).astype(np.float32)


def pitch_of(waveform):
    """Hz, by the first great peak of the autocorrelation."""
    middle = waveform[len(waveform) // 4 : len(waveform) // 4 + 4000].astype(np.float64)
    correlation = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    lags = np.arange(RATE // 400, RATE // 60)
    return RATE / lags[np.argmax(correlation[lags])]


def centroid(waveform):
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return float((power * np.fft.rfftfreq(len(waveform), 1 / RATE)).sum() / power.sum())


class TestWorld:
    def test_pitch_alone(self):
        source = vowel()
        made = resynthesize(source, pitch=1.25)
        assert pitch_of(made) == pytest.approx(150, rel=0.02)
        assert len(made) == len(source)

    def test_rate_alone(self):
        made = resynthesize(vowel(), rate=1.25)
        assert len(made) == RATE / 1.25
        assert pitch_of(made) == pytest.approx(120, rel=0.02)

    def test_formants_alone(self):
        plain, made = resynthesize(vowel()), resynthesize(vowel(), formant=1.2)
        assert pitch_of(made) == pytest.approx(120, rel=0.02)
        assert centroid(made) == pytest.approx(1.2 * centroid(plain), rel=0.06)

    def test_nothing_changed_sounds_alike(self, clips):
        for clip in clips:
            made = resynthesize(clip)
            spectra = [
                np.log(np.abs(np.fft.rfft(each[: len(each) // 512 * 512].reshape(-1, 512))) + 1e-3)
                for each in (clip, made)
            ]
            assert np.corrcoef(spectra[0].ravel(), spectra[1].ravel())[0, 1] > 0.8

    def test_draws_within_its_spans(self, clips):
        world = World(pitch_semitones=2.0, formant=0.1, rate=0.1)
        for seed, clip in enumerate(clips):
            sound = world(Material(clip, None, None), seed)
            assert len(clip) * np.exp(-0.1) - 2 <= len(sound.waveform) <= len(clip) * np.exp(0.1) + 2
            pitch = sound.settings["pitch"]
            assert isinstance(pitch, float)
            assert 2 ** (-2 / 12) - 1e-3 < pitch < 2 ** (2 / 12) + 1e-3
            assert sound.voice is None
            np.testing.assert_array_equal(world(Material(clip, None, None), seed).waveform, sound.waveform)

    def test_too_short(self):
        with pytest.raises(MMERError, match=r"WORLD needs 0\.05 s, the recording has 0\.010 s"):
            World()(Material(np.zeros(160, np.float32), None, None), 0)


class TestEffects:
    def test_the_seed_alone_decides(self, clips):
        material = Material(clips[0], None, None)
        sounds = [Effects()(material, seed) for seed in range(6)]
        again = Effects()
        for seed in reversed(range(6)):
            np.testing.assert_array_equal(again(material, seed).waveform, sounds[seed].waveform)
        assert {"room_absorption", "codec"} <= {name for sound in sounds for name in sound.settings}

    @pytest.mark.parametrize("codec", CODECS)
    def test_codecs_keep_length_and_words_and_lose_something(self, codec, clips):
        heard = through_codec(clips[0], codec)
        assert heard.shape == clips[0].shape
        assert heard.dtype == np.float32
        # A codec may shift phases and delay by some samples; the envelope stays.
        envelopes = [
            np.abs(each[: len(each) // 800 * 800].reshape(-1, 800)).mean(axis=1) for each in (heard, clips[0])
        ]
        assert np.corrcoef(*envelopes)[0, 1] > 0.97
        assert not np.allclose(heard, clips[0], atol=1e-4)


class TestESpeakVoices:
    def test_says_the_text_whatever_was_said_before(self):
        material = Material(np.zeros(RATE, np.float32), "hello there", "en")
        sounds = [ESpeakVoices()(material, seed) for seed in range(8)]
        for seed in reversed(range(8)):
            np.testing.assert_array_equal(ESpeakVoices()(material, seed).waveform, sounds[seed].waveform)
        first = sounds[3]
        assert first.voice is not None
        assert first.voice.startswith("espeak:en+")
        assert 0.3 < len(first.waveform) / RATE < 1.5

    def test_chinese_and_regions(self):
        for language, voice in (("zh", "cmn"), ("en-US", "en-us")):
            sound = ESpeakVoices()(Material(np.zeros(10, np.float32), "一 one", language), 0)
            assert sound.voice is not None
            assert sound.voice.startswith(f"espeak:{voice}+")

    @pytest.mark.parametrize(
        ("text", "language", "message"),
        [
            (None, "en", "no text"),
            (" ", "en", "no text"),
            ("hi", None, "language"),
            ("hi", "qqq", "no voice"),
        ],
    )
    def test_what_it_cannot_say(self, text, language, message):
        with pytest.raises(MMERError, match=message):
            ESpeakVoices()(Material(np.zeros(10, np.float32), text, language), 0)


def test_perturbation_changes_every_text_it_can():
    texts = ["no", "I never said that", "one two three"]
    made = Perturbation()(texts, [0, 1, 2])
    assert all(other != text for other, text in zip(made, texts, strict=True))
    assert Perturbation()(texts, [0, 1, 2]) == made


def test_unknown_generators():
    with pytest.raises(MMERError, match="speech 'wrld', the nearest is 'world'"):
        speech_generators(["wrld"])
    with pytest.raises(MMERError, match="names world twice"):
        speech_generators(["world", "world"])
    with pytest.raises(MMERError, match="text 'pertub', the nearest is 'perturb'"):
        text_generator("pertub")
    assert speech_generators(["none"]) == []
    assert text_generator("none") is None


@pytest.mark.parametrize(("package", "name"), [("pyworld", "world"), ("pyroomacoustics", "effects")])
def test_a_missing_extra_gives_the_command(package, name, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}; install it: pip install -c .*\[augment\]"):
        speech_generators([name])
