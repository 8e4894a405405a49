"""What small corpora cannot show."""

from collections.abc import Mapping

import pandas as pd
import pytest

from mmer.corpora.corpus import Corpus
from mmer.corpora.sufficiency import FEWEST_CLIPS, shortcomings

EMOTIONS = ("angry", "calm", "sad")


def made(
    speakers: str = "abcd",
    clips: int = FEWEST_CLIPS,
    words: str = "{emotion} {clip}",
    missing: Mapping[str, str] | None = None,
) -> Corpus:
    """A corpus of speakers named by a letter; `missing` names the emotion that a speaker lacks."""
    rows = [
        {
            "utterance_id": f"{speaker}{emotion}{clip}",
            "audio_path": None,
            "transcript": words.format(emotion=emotion, clip=clip),
            "emotion": emotion,
            "speaker": speaker,
        }
        for speaker in speakers
        for emotion in EMOTIONS
        for clip in range(clips)
        if (missing or {}).get(speaker) != emotion
    ]
    return Corpus(pd.DataFrame(rows))


def test_a_corpus_large_enough_has_none() -> None:
    assert shortcomings(made()) == []


@pytest.mark.parametrize(("speakers", "told"), [("a", "1 speaker:"), ("ab", "2 speakers:")])
def test_few_speakers(speakers: str, told: str) -> None:
    (said,) = shortcomings(made(speakers))
    assert told in said
    assert "record at least 3 speakers" in said


def test_few_clips_name_where_there_are_fewest() -> None:
    corpus = made(clips=5)
    corpus = corpus.select((corpus.table["utterance_id"] != "ccalm0").to_numpy())
    (said,) = shortcomings(corpus)
    assert "fewest: c, calm: 4" in said
    (said,) = shortcomings(corpus, named=False)
    assert "(fewest: 4)" in said


def test_an_emotion_that_a_speaker_lacks() -> None:
    (said,) = shortcomings(made(missing={"b": "sad"}))
    assert said.startswith("no clip for b (sad): ")
    (said,) = shortcomings(made(missing={"b": "sad"}), named=False)
    assert said.startswith("no clip for 1 pair of speaker and emotion: ")
    (said,) = shortcomings(made("abcdefgh", missing=dict.fromkeys("abcdef", "calm")))
    assert said.startswith(
        "no clip for a (calm), b (calm), c (calm) and 3 more pairs of speaker and emotion: "
    )


def test_the_same_sentences_in_every_emotion() -> None:
    (said,) = shortcomings(made(words="Sentence {clip}!"))
    assert "words cannot tell" in said
    assert shortcomings(made(words="")) == []


@pytest.mark.parametrize(
    "corpus",
    [made("a"), made(missing={"b": "sad"}), made(clips=5), made(words="Sentence {clip}!")],
)
def test_notes_begin_small_and_have_no_full_stop(corpus: Corpus) -> None:
    for said in shortcomings(corpus):
        assert said[0].islower()
        assert ". " not in said
        assert not said.endswith(".")


def test_one_emotion_or_no_speakers_are_the_business_of_other_messages() -> None:
    corpus = made()
    assert shortcomings(corpus.select((corpus.table["emotion"] == "sad").to_numpy())) == []
    assert shortcomings(Corpus(corpus.table.drop(columns="speaker"))) == []
