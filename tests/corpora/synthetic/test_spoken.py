"""*spoken*: half of the answer is in the words, half in the prosody, and neither half gives the whole."""

import concurrent.futures
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from numpy.typing import NDArray

from mmer.audio.load import load_audio, probe, quality_warnings
from mmer.corpora.corpus import Corpus
from mmer.corpora.synthetic.espeak import ESpeak
from mmer.corpora.synthetic.spoken import (
    ACCENTS,
    ADJECTIVES,
    EMOTIONS,
    PROSODY,
    VARIANTS,
    VERBS,
    _twins,
    make_spoken,
)
from mmer.errors import CorpusError, MMERError

SIZES: dict[str, Any] = {"train_voices": 8, "validation_voices": 3, "test_voices": 4, "utterances": 16}


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_spoken(tmp_path_factory.mktemp("spoken"), **SIZES)


def best_guesser(table: pd.DataFrame, seen: list[str]) -> float:
    """Accuracy of the best answer that depends on these columns alone, chosen with the answers at hand."""
    return float(table.groupby(seen)["emotion"].agg(lambda e: e.value_counts().iloc[0]).sum() / len(table))


def pitch(waveform: NDArray[np.float32], rate: int = 16000) -> float:
    """Median fundamental frequency in Hz of the loud frames, from the autocorrelation."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform, 640)[::320]
    energy = np.square(frames).sum(axis=1)
    found = []
    for frame in frames[energy > np.median(energy)]:
        correlation = np.correlate(frame, frame, "full")[639:]
        lags = slice(rate // 500, rate // 55)
        found.append(rate / (lags.start + np.argmax(correlation[lags])))
    return float(np.median(found))


class TestDesign:
    def test_sizes(self, spoken: Corpus) -> None:
        table = spoken.table
        assert table.groupby("split")["speaker"].nunique().to_dict() == {
            "test": 4,
            "train": 8,
            "validation": 3,
        }
        assert (table.groupby(["speaker", "emotion"]).size() == 4).all()
        assert (
            table.groupby("split")["gender"].agg(lambda g: abs((g == "female").mean() - 0.5)) <= 0.17
        ).all()
        assert table["duration"].between(0.7, 3.2).all()
        assert table["duration"].median() < 2
        assert all(5 <= len(text.split()) <= 8 for text in table["transcript"].tolist())

    @pytest.mark.parametrize("split", ["train", "validation", "test"])
    def test_no_half_gives_more_than_half(self, spoken: Corpus, split: str) -> None:
        table = spoken.table[spoken.table["split"] == split]
        settings = ["rate", "pitch", "pitch_range", "volume"]
        assert best_guesser(table, ["transcript"]) == 0.5
        assert best_guesser(table, ["speaker", "transcript"]) == 0.5
        assert best_guesser(table, ["speaker", *settings]) == 0.5
        assert best_guesser(table, ["speaker"]) == 0.25
        assert best_guesser(table, ["transcript", *settings]) == 1.0

    def test_no_voice_and_no_sentence_is_on_two_sides(self, spoken: Corpus) -> None:
        table = spoken.table.assign(variant=spoken.table["speaker"].str.split("+").str[1])
        for column in ("speaker", "variant", "transcript"):
            assert (table.groupby(column)["split"].nunique() == 1).all()

    def test_twins_differ_in_one_word_that_carries_the_valence(self, spoken: Corpus) -> None:
        pairs = (*ADJECTIVES, *VERBS)
        valence = dict.fromkeys([positive for positive, _ in pairs], "positive")
        valence |= dict.fromkeys([negative for _, negative in pairs], "negative")
        twins: dict[tuple[str, str], set[str]] = {}
        used: dict[str, set[str]] = {}
        for row in spoken.table.to_dict("records"):
            words = row["transcript"].split()
            (carrier,) = [word for word in words if word in valence]
            assert valence[carrier] == row["valence"]
            assert EMOTIONS[row["arousal"], row["valence"]] == row["emotion"]
            rest = " ".join(word for word in words if word != carrier)
            twins.setdefault((row["speaker"], rest), set()).add(row["valence"])
            used.setdefault(row["split"], set()).add(carrier)
        assert all(pair == {"positive", "negative"} for pair in twins.values())
        assert used["train"] == used["test"] == set(valence)

    def test_no_sentence_is_drawn_twice(self) -> None:
        drawn = list(itertools.islice(_twins(np.random.default_rng(0)), 1000))
        assert len({sentence for pair in drawn for sentence in pair}) == 2000

    def test_prosody_is_drawn_within_its_spans(self, spoken: Corpus) -> None:
        for arousal, rows in spoken.table.groupby("arousal"):
            for name, (smallest, largest) in PROSODY[str(arousal)].items():
                assert rows[name].between(smallest, largest).all()
                assert rows[name].nunique() > 5


class TestSound:
    def test_files(self, spoken: Corpus) -> None:
        for row in spoken.table.itertuples():
            info = probe(str(row.audio_path))
            assert (info.sampling_rate, info.channels) == (16000, 1)
            assert info.duration == row.duration
            assert quality_warnings(load_audio(str(row.audio_path)), info.sampling_rate) == []

    def test_arousal_is_heard_in_every_pair(self, spoken: Corpus) -> None:
        # The same sentence of the same voice: aroused it is shorter, louder and higher.
        table = spoken.table[spoken.table["split"] == "test"]
        pairs = table.pivot(index=["speaker", "transcript"], columns="arousal", values="audio_path")
        assert len(pairs) == 32
        for high, low in pairs[["high", "low"]].itertuples(index=False):
            aroused, relaxed = load_audio(high), load_audio(low)
            assert len(aroused) < 0.9 * len(relaxed)
            assert np.sqrt(np.mean(aroused**2)) > 1.4 * np.sqrt(np.mean(relaxed**2))
            assert pitch(aroused) > 1.15 * pitch(relaxed)

    def test_the_same_samples_every_time(self, spoken: Corpus, tmp_path: Path) -> None:
        again = make_spoken(tmp_path, **SIZES)
        pd.testing.assert_frame_equal(
            again.table.drop(columns="audio_path"), spoken.table.drop(columns="audio_path")
        )
        for first, second in zip(spoken.table["audio_path"], again.table["audio_path"], strict=True):
            np.testing.assert_array_equal(soundfile.read(second)[0], soundfile.read(first)[0])

    def test_another_seed_is_another_corpus(self, spoken: Corpus, tmp_path: Path) -> None:
        other = make_spoken(
            tmp_path, seed=1, train_voices=3, validation_voices=0, test_voices=0, utterances=8
        )
        assert len(other) == 24
        assert not set(other.table["transcript"]) & set(spoken.table["transcript"])


PLAIN: dict[str, int] = {"rate": 175, "pitch": 50, "pitch_range": 50, "volume": 80}


class TestESpeak:
    def test_every_voice_speaks_and_sounds_different(self) -> None:
        synthesizer = ESpeak()
        names = [f"en+{variant}" for variants in VARIANTS.values() for variant in variants]
        names += [f"{accent}+m3" for accent in ACCENTS if accent != "en"]
        said = {
            name: synthesizer.synthesize("we had a splendid dinner", voice=name, **PLAIN) for name in names
        }
        assert len({waveform.tobytes() for waveform in said.values()}) == len(names)
        for name, waveform in said.items():
            assert 0.8 < len(waveform) / synthesizer.sampling_rate < 2.5, name
            assert 0.05 < np.abs(waveform).max() < 1, name

    def test_instances_do_not_disturb_each_other(self) -> None:
        alone = [ESpeak().synthesize("hello", voice="en+f2", **PLAIN)]
        first, second = ESpeak(), ESpeak()
        second.synthesize("something else first", voice="en-us+m1", **PLAIN)
        np.testing.assert_array_equal(first.synthesize("hello", voice="en+f2", **PLAIN), alone[0])

    def test_threads_take_turns(self) -> None:
        synthesizer = ESpeak()
        expected = len(ESpeak().synthesize("one two three", voice="en", **PLAIN))
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            said = threads.map(
                lambda _: synthesizer.synthesize("one two three", voice="en", **PLAIN), range(40)
            )
        assert all(abs(len(waveform) - expected) < 500 for waveform in said)

    def test_refused(self) -> None:
        with pytest.raises(MMERError, match="eSpeak NG has no voice 'xx-nowhere'"):
            ESpeak().synthesize("hello", voice="xx-nowhere", **PLAIN)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"train_voices": 17}, "27 voices are asked for; 0 to 26 are there"),
        ({"test_voices": -1}, "voices are asked for; 0 to 26 are there"),
        ({"utterances": 10}, "10 utterances of each voice; give a multiple of 4"),
        ({"utterances": 0}, "give a multiple of 4"),
        (
            {"utterances": 400},
            "400 utterances of each voice are too many; 26 voices have sentences for 152 each",
        ),
    ],
)
def test_refused(tmp_path: Path, arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(CorpusError, match=expected):
        make_spoken(tmp_path, **arguments)
