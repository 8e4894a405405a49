"""Speaker-conditioned synthesis with a made synthesizer: eSpeak NG at the pitch of the reference."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from mmer.audio.load import load_audio
from mmer.augment.generators.by_name import Perturbation, speech_generators
from mmer.augment.generators.cloning import YourTTS
from mmer.augment.make import make_views
from mmer.corpora.corpus import Corpus
from mmer.corpora.synthetic.espeak import ESpeak
from mmer.errors import CorpusError, MissingExtraError

RATE = 16_000
PITCHES = {"A": 100, "B": 140, "C": 180, "D": 220}
SAID = "they said that it is a lovely morning"


def pitch_of(waveform: np.ndarray) -> float:
    """Hz, by the greatest peak of the autocorrelation of the middle."""
    middle = waveform[len(waveform) // 2 - 2000 : len(waveform) // 2 + 2000].astype(np.float64)
    correlation = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    lags = np.arange(RATE // 300, RATE // 70)
    return RATE / lags[np.argmax(correlation[lags])]


def speak_as(text: str, language: str, reference: Path) -> tuple[np.ndarray, int]:
    """A synthesizer that clones nothing but the pitch."""
    waveform, rate = soundfile.read(reference)
    assert (rate, waveform.ndim) == (RATE, 1)
    with ESpeak() as synthesizer:
        said = synthesizer.synthesize(
            text,
            voice=language,
            rate=150,
            pitch=round((pitch_of(waveform) - 60) / 2),
            pitch_range=0,
            volume=100,
        )
        return said, synthesizer.sampling_rate


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Four speakers told apart by their pitch, two in each session; each says something twice."""
    folder, rows = tmp_path_factory.mktemp("said"), []
    for speaker, pitch in PITCHES.items():
        for emotion in ("calm", "sad"):
            time = np.arange(2 * RATE) / RATE
            wave = np.sum([np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 6)], axis=0)
            soundfile.write(folder / f"{speaker}{emotion}.wav", 0.1 * wave, RATE)
            rows.append(
                {
                    "utterance_id": f"{speaker}{emotion}",
                    "audio_path": str(folder / f"{speaker}{emotion}.wav"),
                    "transcript": SAID,
                    "emotion": emotion,
                    "speaker": speaker,
                    "session": "1" if speaker in "AB" else "2",
                    "language": "en",
                }
            )
    return Corpus(pd.DataFrame(rows))


def test_the_words_of_the_view_in_the_voice_of_the_donor(corpus, tmp_path):
    made = make_views(corpus, tmp_path / "v", [YourTTS(speak_as)], Perturbation(), views=2)
    good = [view for view in made if view.rejected is None]
    assert len(good) > 10
    for view in good:
        source, donor = view.source_utterance, str(view.donor)
        assert source[0] != donor[0]
        assert source[1:] == donor[1:]  # the same emotion
        assert {source[0], donor[0]} in ({"A", "B"}, {"C", "D"})  # of the same session
        assert (view.voice, view.voices, view.texts) == (donor[0], (donor[0],), (source[0],))
        assert view.transcript != SAID
    waveforms = {view.view_id: load_audio(str(view.audio_path)) for view in good}
    heard = {
        voice: np.median([pitch_of(waveforms[view.view_id]) for view in good if view.voice == voice])
        for voice in "ABCD"
    }
    assert sorted(heard, key=lambda voice: heard[voice]) == list("ABCD")
    assert json.loads(good[0].settings) == {}


def test_a_sentence_that_the_synthesizer_cannot_say_is_a_row(corpus, tmp_path):
    def fails(text: str, language: str, reference: Path) -> tuple[np.ndarray, int]:
        raise RuntimeError("no sound for this sign\nand more")

    made = make_views(corpus, tmp_path / "v", [YourTTS(fails)])
    assert {view.rejected for view in made} == {"yourtts: no sound for this sign"}
    assert {view.donor is None for view in made} == {False}


def test_languages(corpus, tmp_path):
    polish = Corpus(corpus.table.assign(language="pl"))
    with pytest.raises(CorpusError, match="utterances are in pl, and yourtts knows en, fr, pt"):
        make_views(polish, tmp_path / "v", [YourTTS(speak_as)])
    assert make_views(polish, tmp_path / "v", [YourTTS(speak_as, languages={"pl"})])


def test_a_missing_extra_gives_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "TTS.api", None)
    with pytest.raises(MissingExtraError, match=r"install it: pip install -c .*\[tts\]"):
        speech_generators(["yourtts"])
