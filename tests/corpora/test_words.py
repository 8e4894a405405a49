"""Whether words tell emotions: scripted corpora, corpora of few sentences, and telling words."""

import math
from dataclasses import astuple

import numpy as np
import pandas as pd
import pytest

from mmer.corpora.corpus import Corpus
from mmer.corpora.words import LEAST_ERRORS, gain_of_words, words_tell_emotions

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
    gain = gain_of_words(pd.Series([s for s, _ in said]), pd.Series([e for _, e in said]))
    assert astuple(gain) == pytest.approx((0, 0))
    assert not words_tell_emotions(corpus(said))


def test_a_consistent_gain_of_a_clip_in_a_hundred_is_none() -> None:
    """A script that is almost balanced: one clip of each sentence is missing, and the words say which."""
    said: list[tuple[str | None, str]] = []
    for n, thing in enumerate(f"{a} {b}" for a in range(10) for b in range(10)):
        more, fewer = ("a", "b") if n % 2 else ("b", "a")
        said += [(f"{thing} {more * 3}", emotion) for emotion in [more] * 30 + [fewer] * 29]
    gain = gain_of_words(pd.Series([s for s, _ in said]), pd.Series([e for _, e in said]))
    assert gain.share / gain.error > 5
    assert not words_tell_emotions(corpus(said))


def test_many_clips_of_two_sentences_are_two_observations() -> None:
    """Each sentence has an emotion of its own, as a script may; a hundred speakers do not make more sentences."""
    assert not words_tell_emotions(corpus([("come in", "happy"), ("go away", "angry")] * 100))


def test_the_gain_and_its_standard_error_over_sentences() -> None:
    """By hand: each emotion has half of the clips, so that a right prediction counts 1/2 and a wrong one -1/2.

    "one" and "two" share a word with the other sentence of their emotion. The score of a sentence is that of its clips.
    """
    sentences = pd.Series(["good one", "good one", "good two", "bad one", "bad two", "bad two"])
    gain = gain_of_words(sentences, pd.Series(["happy"] * 3 + ["sad"] * 3))
    assert astuple(gain) == pytest.approx((6 / 2 / 6, math.sqrt(1 + 0.25 + 0.25 + 1) / 6))


def test_random_words_rarely_reach_the_bound() -> None:
    random = np.random.default_rng(0)
    words = [f"w{i}" for i in range(40)]
    reached = 0
    for _ in range(60):
        sentences = pd.Series([" ".join(random.choice(words, 5)) for _ in range(80)])
        gain = gain_of_words(sentences, pd.Series(random.choice(list("abc"), 80).tolist()))
        reached += gain.share >= LEAST_ERRORS * gain.error
    assert reached <= 3


@pytest.mark.parametrize(
    "said", [[("", "a"), (None, "b")], [("same", "a"), ("same", "b")], [("one", "a"), ("two", "a")]]
)
def test_too_little_to_tell(said: list[tuple[str | None, str]]) -> None:
    assert not words_tell_emotions(corpus(said))
