"""The sentence of an explanation: what stands out is named with its numbers, and nothing else is."""

import re

import pytest

from mmer.inference import Prediction
from mmer.inference.explain.contributions import STANDS_OUT, Moment, Trait, Word, sentence

ANSWER = Prediction(utterance_id="u", label="angry", probabilities={"calm": 0.1, "angry": 0.62, "sad": 0.28})
QUIET = [Word("I", 0.01, 0.012), Word("never", 0.0, -0.031)]
EVEN = [Moment(n / 4, n / 4 + 0.25, 0.1, 0.05) for n in range(12)]


def moments(**drops: float) -> list[Moment]:
    """Moments of a quarter of a second, with the drops of those that are named, as in `at5=0.8`."""
    return [
        Moment(each.start, each.end, 0.1, drops.get(f"at{number}", 0.02)) for number, each in enumerate(EVEN)
    ]


def test_the_voice_in_a_span_and_no_words() -> None:
    told = sentence(ANSWER, QUIET, moments(at5=0.4, at6=0.9, at7=0.5, at11=0.3), [], 1.4, 0.03)
    assert told == (
        "Answer: angry (62%) rather than sad (28%), mainly because of the voice (+1.40 log-odds), while the words "
        "hardly mattered (+0.03); the sound counts most in 1.5-2.0 s (up to -0.90 where it is blank); no word "
        "moves the answer by more than 0.04."
    )


def test_the_words_and_one_of_them() -> None:
    told = sentence(ANSWER, [*QUIET, Word("never{0}$x$", 0.9, 1.2)], EVEN, [], -0.5, 1.1)
    assert "mainly because of the words (+1.10 log-odds), while the voice spoke against it (-0.50)" in told
    assert "no moment of 0.25 s moves the answer by more than 0.06" in told
    assert told.endswith("; the word “never{0}$x$” counts most (-1.20 without it).")


def test_a_voice_that_hardly_matters_has_no_moment_that_counts() -> None:
    told = sentence(ANSWER, [*QUIET, Word("never", 0.9, 1.2)], moments(at2=0.98), [], -0.05, 1.1)
    assert "while the voice hardly mattered (-0.05); the word “never” counts most" in told
    told = sentence(ANSWER, [*QUIET, Word("never", 0.9, 1.2)], EVEN, [], 0.9, 0.1)
    assert told.endswith(
        "while the words hardly mattered (+0.10); no moment of 0.25 s moves the answer by more than 0.06."
    )


def test_the_voice_as_a_whole() -> None:
    traits = [
        Trait("pitch", -0.4, -0.3),
        Trait("loudness", 1.9, 1.1),
        Trait("timbre", 0.6, 0.7),
        Trait("rhythm", 0.1, 0.1),
    ]
    told = sentence(ANSWER, [], moments(at5=0.9), traits, 1.4, None)
    assert told == (
        "Answer: angry (62%) rather than sad (28%), because of the voice (+1.40 log-odds); the loudness of the voice "
        "counts most (-1.10 where it is average); its pitch speaks against it (+0.30 where it is average); the sound "
        "counts most in 1.2-1.5 s (up to -0.90 where it is blank)."
    )
    assert "pitch" not in sentence(ANSWER, [], EVEN, traits[1:], 1.4, None)
    assert "its" not in sentence(ANSWER, [], EVEN, traits[3:], 1.4, None)
    assert "its" not in sentence(ANSWER, QUIET, EVEN, traits, 0.1, 0.9)  # the two measures differ


def test_nothing_has_no_sign() -> None:
    assert "(+0.00)" in sentence(ANSWER, QUIET, EVEN, [], 1.4, -0.001)


def test_both() -> None:
    told = sentence(ANSWER, QUIET, moments(**{f"at{n}": 0.5 for n in range(8)}), [], 0.8, 0.6)
    assert "because of the voice (+0.80 log-odds) and the words (+0.60)" in told
    assert "the sound counts most throughout (up to -0.50 where it is blank)" in told


def test_what_speaks_against_the_answer() -> None:
    told = sentence(ANSWER, [*QUIET, Word("thanks", -0.4, -0.6)], moments(at2=-0.5), [], 0.9, -0.4)
    assert "while the words spoke against it (-0.40)" in told
    assert "the sound speaks most against it in 0.5-0.8 s (up to +0.50 where it is blank)" in told
    assert told.endswith("the word “thanks” speaks most against it (+0.60 without it).")


@pytest.mark.parametrize("sides", [(0.1, 0.05), (-0.5, 0.1), (0.19, -2.0)])
def test_nothing_stands_out(sides: tuple[float, float]) -> None:
    told = sentence(ANSWER, QUIET, EVEN, [], *sides)
    assert "though nothing speaks for it clearly" in told
    assert "because" not in told
    assert all(f"{side:+.2f}" in told for side in sides)


def test_one_side_alone() -> None:
    heard = sentence(ANSWER, [], EVEN, [], 0.5, None)
    assert ", because of the voice (+0.50 log-odds); no moment" in heard
    assert "word" not in heard
    read = sentence(ANSWER, [Word("day", 0.3, 0.3)], [], [], None, 0.3)
    assert read == (
        "Answer: angry (62%) rather than sad (28%), because of the words (+0.30 log-odds); the word “day” counts most "
        "(-0.30 without it)."
    )


@pytest.mark.parametrize("drop", [0.0, 0.004, -0.1, 0.199])
def test_bounds_are_true(drop: float) -> None:
    told = sentence(ANSWER, [Word("a", 0, drop)], [], [], None, 0.5)
    bound = re.search(r"by more than ([\d.]+)\.$", told)
    assert bound is not None
    assert abs(drop) <= float(bound[1]) <= STANDS_OUT + 0.01
