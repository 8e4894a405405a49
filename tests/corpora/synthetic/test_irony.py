"""*irony*: neither words, nor prosody, nor both pooled tell the label; the prosody of the right word does."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from mmer.audio.load import load_audio
from mmer.corpora.corpus import Corpus
from mmer.corpora.synthetic.irony import DECOYS, VALENCES, make_irony
from mmer.corpora.words import words_tell_emotions
from mmer.errors import CorpusError
from mmer.features.prosody import HOP, prosody

SIZES: dict[str, Any] = {"train_voices": 2, "validation_voices": 1, "test_voices": 1, "utterances": 16}
RENDERING = ["rate", "pitch", "rise", "fall"]


@pytest.fixture(scope="module")
def irony(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_irony(tmp_path_factory.mktemp("irony"), **SIZES)


def best_guesser(table: pd.DataFrame, seen: list[str]) -> float:
    """Accuracy of the best answer that depends on these columns alone, chosen with the answers at hand."""
    return float(table.groupby(seen)["emotion"].agg(lambda e: e.value_counts().iloc[0]).sum() / len(table))


def seen_by_each(table: pd.DataFrame) -> pd.DataFrame:
    """Add the words without their order, and the place of the bright word."""
    words = [" ".join(sorted(text.split())) for text in table["transcript"].tolist()]
    is_first = (table["place"] == "first") == (table["prosody"] == "bright")
    return table.assign(bag=words, bright=np.where(is_first, "first", "second"))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_only_words_and_the_place_of_the_prosody_give_more_than_half(irony: Corpus, split: str) -> None:
    table = seen_by_each(irony.table[irony.table["split"] == split])
    assert best_guesser(table, ["speaker", "transcript"]) == 0.5
    assert best_guesser(table, ["speaker", "bright", *RENDERING]) == 0.5
    # Words without their order, with the place of the prosody: still nothing.
    assert best_guesser(table, ["speaker", "bag", "bright", *RENDERING]) == 0.5
    assert best_guesser(table, ["place", "bright"]) == 0.5
    assert best_guesser(table, ["valence", "bright"]) == 0.5
    assert best_guesser(table, ["valence", "place"]) == 0.5
    assert best_guesser(table, ["valence", "prosody"]) == 1.0
    assert best_guesser(table, ["transcript", "bright"]) == 1.0


def test_label_is_the_agreement_of_the_word_with_its_prosody(irony: Corpus) -> None:
    positive = {word for word, _ in VALENCES}
    negative = {word for _, word in VALENCES}
    for row in irony.table.to_dict("records"):
        (word,) = set(row["transcript"].split()) & (positive | negative)
        (decoy,) = set(row["transcript"].split()) & set(DECOYS)
        words = row["transcript"].split()
        assert row["word"] == word
        assert row["place"] == ("first" if words.index(word) < words.index(decoy) else "second")
        agrees = (word in positive) == (row["prosody"] == "bright")
        assert row["emotion"] == ("sincere" if agrees else "ironic")


def test_words_alone_tell_nothing_so_that_automatic_fusion_only_listens(irony: Corpus) -> None:
    assert not words_tell_emotions(irony)


def test_no_voice_and_no_sentence_is_on_two_sides(irony: Corpus) -> None:
    assert (irony.table.groupby("speaker")["split"].nunique() == 1).all()
    assert (irony.table.groupby("transcript")["split"].nunique() == 1).all()


def fall(path: str) -> pd.Series:
    """By how much the first half of a recording is higher (octaves) and louder (nats of energy) than the second."""
    waveform = load_audio(path)
    pitch = prosody(waveform, len(waveform) // HOP - 2)[:, 0]
    high, low = (np.nanmean(half) for half in np.array_split(pitch, 2))
    loud, quiet = (np.log(np.square(half).mean()) for half in np.array_split(waveform, 2))
    return pd.Series({"pitch": high - low, "energy": loud - quiet})


def test_the_prosody_is_on_its_word(irony: Corpus) -> None:
    table = seen_by_each(irony.table)
    pairs = table.pivot(index=["speaker", "transcript"], columns="bright", values="audio_path")
    assert len(pairs) == 32
    change = pairs["first"].map(fall).apply(pd.Series) - pairs["second"].map(fall).apply(pd.Series)
    assert (change > 0).to_numpy().all()
    assert change["pitch"].mean() > 0.5
    assert change["energy"].mean() > 1.0


def test_a_decoy_without_prosody_leaves_one_prosody_that_tells_with_the_words(tmp_path: Path) -> None:
    corpus = make_irony(
        tmp_path, train_voices=1, validation_voices=0, test_voices=0, utterances=8, contrasted_decoy=False
    )
    assert best_guesser(corpus.table, ["transcript"]) == best_guesser(corpus.table, ["prosody"]) == 0.5
    assert best_guesser(corpus.table, ["transcript", "prosody"]) == 1.0


def test_reiterant_speech_sounds_the_same_whatever_the_words_are(tmp_path: Path) -> None:
    corpus = make_irony(
        tmp_path, train_voices=1, validation_voices=0, test_voices=0, utterances=8, reiterant=True
    )
    table = seen_by_each(corpus.table)
    assert table["transcript"].nunique() == 4
    for _, same in table.groupby("bright"):
        first, *others = [load_audio(path) for path in same["audio_path"].tolist()]
        assert len(others) == 3
        for other in others:  # the noise of consonants differs
            assert len(other) == pytest.approx(len(first), rel=0.01)
            assert np.abs(other).sum() == pytest.approx(np.abs(first).sum(), rel=0.02)
        assert same["emotion"].value_counts().tolist() == [2, 2]


def test_the_same_samples_every_time_and_none_of_another_seed(irony: Corpus, tmp_path: Path) -> None:
    again = make_irony(tmp_path / "again", **SIZES)
    kept = irony.table.drop(columns="audio_path")
    pd.testing.assert_frame_equal(again.table.drop(columns="audio_path"), kept)
    for first, second in zip(irony.table["audio_path"], again.table["audio_path"], strict=True):
        np.testing.assert_array_equal(soundfile.read(second)[0], soundfile.read(first)[0])
    other = make_irony(tmp_path / "other", seed=1, **SIZES)
    assert not set(other.table["transcript"]) & set(irony.table["transcript"])


def test_without_contour_both_renderings_differ_in_rate_and_pitch_alone(tmp_path: Path) -> None:
    corpus = make_irony(tmp_path, train_voices=1, validation_voices=0, test_voices=0, utterances=8, contour=0)
    assert (corpus.table[["rise", "fall"]] == 0).to_numpy().all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"train_voices": 30}, "40 voices are asked for; 0 to 26 are there"),
        ({"utterances": 12}, "12 utterances of each voice; give a multiple of 8"),
        ({"utterances": 8000}, "too many; 26 voices have sentences for 1536 each"),
        ({"contour": 41}, "a contour of 41; it must be from 0 to 40"),
    ],
)
def test_refused(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(CorpusError, match=said):
        make_irony(tmp_path, **settings)
