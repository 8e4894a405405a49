"""Word and character errors by hand and by a slow recursion, and the accuracy beside them."""

from functools import cache

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mmer.text.error_rates import (
    accuracy_by_word_errors,
    bin_name,
    with_word_errors,
    word_error_table,
    word_errors,
)


def slow_distance(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    @cache
    def of(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(of(i - 1, j - 1) + (a[i - 1] != b[j - 1]), of(i - 1, j) + 1, of(i, j - 1) + 1)

    return of(len(a), len(b))


def test_word_errors_by_hand() -> None:
    found = word_errors(["The cat sat, down.", "yes"], ["a cat down", "yes yes"])
    assert (found.substitutions, found.deletions, found.insertions) == (1, 1, 1)
    assert (found.words, found.transcripts) == (5, 2)
    assert found.rate == 0.6
    assert word_errors(["..."], ["well"]).rate is None


@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
def test_word_errors_are_the_fewest(said: list[str], written: list[str]) -> None:
    found = word_errors([" ".join(said)], [" ".join(written)])
    errors = found.substitutions + found.deletions + found.insertions
    assert errors == slow_distance(tuple(said), tuple(written))
    assert len(said) - found.deletions + found.insertions == len(written)


def test_character_errors_by_hand() -> None:
    found = word_errors(["The cat.", "zażółć"], ["a cat", "zazółć!"])
    assert (found.character_errors, found.characters) == (
        3 + 1,
        7 + 6,
    )  # "the" to "a" is three; the blank stays
    assert found.character_rate == 4 / 13
    assert found.to_dict()["character_error_rate"] == 4 / 13
    assert word_errors([""], ["well"]).character_rate is None


@given(st.text("ab ", max_size=8), st.text("ab ", max_size=8))
def test_character_errors_are_the_fewest(said: str, written: str) -> None:
    a, b = (" ".join(text.split()) for text in (said, written))
    assert word_errors([said], [written]).character_errors == slow_distance(tuple(a), tuple(b))


def test_accuracy_in_bins_by_hand() -> None:
    said = "one two three four"
    texts = [said, "One, two: three four!", "one two three", "one two", None, "a b c d e f", said, "nothing"]
    table = pd.DataFrame(
        {
            "emotion": "sad",
            "predicted": ["sad", "happy", "sad", "happy", "happy", "happy", None, "sad"],
            "text": texts,
        }
    )
    predictions, errors = with_word_errors(table, [said] * 7 + [None])
    assert predictions["word_error_rate"].tolist()[:7] == [0, 0, 0.25, 0.5, 1, 1.5, 0]
    assert pd.isna(predictions["word_error_rate"][7])
    assert (errors.transcripts, errors.rate) == (7, 13 / 28)
    bins = accuracy_by_word_errors(predictions)
    assert [bin_name(found) for found in bins] == ["0%", "0-25%", "25-50%", "50-100%", "over 100%"]
    assert [found.utterances for found in bins] == [2, 1, 1, 1, 1]
    assert [found.accuracy for found in bins] == [0.5, 1, 0, 0, 0]
    with (console := Console(width=80)).capture() as captured:
        console.print(word_error_table(bins))
    assert [line.split() for line in captured.get().splitlines() if "over" in line] == [
        ["│", "over", "100%", "│", "1", "│", "0.0%", "│"]
    ]
    assert accuracy_by_word_errors(predictions.assign(word_error_rate=float("nan"))) == []
