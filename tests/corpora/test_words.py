"""Whether words tell emotions: scripted corpora, corpora of few sentences, and telling words."""

import math

import numpy as np
import pandas as pd
import pytest

from mmer.corpora.corpus import Corpus
from mmer.corpora.words import LEAST_EVIDENCE, evidence_of_words, words_tell_emotions

THINGS = [
    f"{kind} {thing}" for kind in ("red", "old", "big", "new") for thing in ("car", "dog", "cup", "hat")
]
TELLING = {"angry": "hate", "happy": "love"}
TELLING_JAPANESE = {"angry": "嫌", "happy": "好"}


def corpus(said: list[tuple[str | None, str]]) -> Corpus:
    rows = [
        {"utterance_id": f"u{i}", "audio_path": f"u{i}.wav", "transcript": text, "emotion": emotion}
        for i, (text, emotion) in enumerate(said)
    ]
    return Corpus(pd.DataFrame(rows))


def test_words_that_occur_in_other_sentences_tell() -> None:
    assert words_tell_emotions(
        corpus([(f"I {TELLING[e]} my {thing}", e) for e in TELLING for thing in THINGS])
    )


def test_letters_are_words_where_there_are_no_blanks() -> None:
    things = "".join(chr(0x4E00 + i) for i in range(16))
    said: list[tuple[str | None, str]] = [
        (f"{thing}が{TELLING_JAPANESE[e]}き", e) for e in TELLING for thing in things
    ]
    assert words_tell_emotions(corpus(said))


def test_the_same_sentences_in_every_emotion_tell_nothing() -> None:
    said: list[tuple[str | None, str]] = [(thing, emotion) for thing in THINGS for emotion in "abcd" * 3]
    assert evidence_of_words(
        pd.Series([s for s, _ in said]), pd.Series([e for _, e in said])
    ) == pytest.approx(0)
    assert not words_tell_emotions(corpus(said))


def test_many_clips_of_two_sentences_are_two_observations() -> None:
    """Each sentence has an emotion of its own, as a script may; a hundred speakers do not make more sentences."""
    assert not words_tell_emotions(corpus([("come in", "happy"), ("go away", "angry")] * 100))


def test_the_evidence_is_in_standard_errors_over_sentences() -> None:
    """By hand: every emotion has half of the clips, so a right guess is +1/2 and a wrong one -1/2.

    "one" and "two" share a word with a sentence of the same emotion, "three" with one of the other emotion.
    """
    sentences = pd.Series(["good one", "good two", "bad one", "bad two"])
    found = evidence_of_words(sentences, pd.Series(["happy", "happy", "sad", "sad"]))
    assert found == pytest.approx(4 / 2 / math.sqrt(4 / 4))


def test_random_words_rarely_reach_the_bound() -> None:
    random = np.random.default_rng(0)
    words = [f"w{i}" for i in range(40)]
    reached = 0
    for _ in range(60):
        sentences = pd.Series([" ".join(random.choice(words, 5)) for _ in range(80)])
        reached += evidence_of_words(sentences, pd.Series(random.choice(list("abc"), 80))) >= LEAST_EVIDENCE
    assert reached <= 3


@pytest.mark.parametrize(
    "said", [[("", "a"), (None, "b")], [("same", "a"), ("same", "b")], [("one", "a"), ("two", "a")]]
)
def test_too_little_to_tell(said: list[tuple[str | None, str]]) -> None:
    assert not words_tell_emotions(corpus(said))
