"""Word errors by hand, by a slow recursion, and by what they are meant to be in sum."""

from functools import cache

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmer.corpora.corpus import Corpus
from mmer.errors import MMERError
from mmer.evaluation.transcript_conditions import (
    Condition,
    training_words,
    with_condition,
    word_errors,
)

WORDS = [f"word{number}" for number in range(50)]


def corpus_of(texts: list[str | None], splits: list[str] | None = None) -> Corpus:
    names = [f"u{number}" for number in range(len(texts))]
    table = {
        "utterance_id": names,
        "audio_path": None,
        "transcript": texts,
        "emotion": "sad",
        "split": splits,
    }
    return Corpus(pd.DataFrame(table))


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


@pytest.mark.parametrize("rate", [0.1, 0.4, 1.0])
def test_degraded_transcripts_have_about_the_rate_asked_for(rate: float) -> None:
    corpus = corpus_of([" ".join(WORDS[i : i + 8]) for i in range(0, 40)] * 10)
    condition = Condition.parse(f"wer:{rate}")
    changed, errors = with_condition(corpus, condition, WORDS)
    # An insertion and a deletion side by side can be one substitution, so never more than asked for by much.
    assert errors.rate == pytest.approx(rate, abs=0.03 if rate < 1 else 0.1)
    kinds = (errors.substitutions, errors.deletions, errors.insertions)
    assert min(kinds) > 0.1 * sum(kinds)
    again, _ = with_condition(corpus, condition, WORDS)
    assert again.table["transcript"].tolist() == changed.table["transcript"].tolist()
    other, _ = with_condition(corpus, condition, WORDS, seed=1)
    assert other.table["transcript"].tolist() != changed.table["transcript"].tolist()


def test_what_happens_to_an_utterance_does_not_depend_on_the_others() -> None:
    corpus = corpus_of([" ".join(WORDS)] * 20)
    changed, _ = with_condition(corpus, Condition.parse("wer:0.5"), WORDS)
    alone, _ = with_condition(corpus.select(corpus.table.index == 7), Condition.parse("wer:0.5"), WORDS)
    assert alone.table["transcript"].item() == changed.table["transcript"][7]
    assert changed.table["transcript"].nunique() == 20


def test_gold_none_and_no_errors() -> None:
    corpus = corpus_of(["I, well.", None, ""])
    for name, expected, rate in (
        ("gold", ["I, well.", None, ""], 0),
        ("none", [None] * 3, 1),
        ("wer:0", ["I, well.", None, ""], 0),
    ):
        changed, errors = with_condition(corpus, Condition.parse(name), [])
        assert changed.table["transcript"].tolist() == expected
        assert errors.rate == rate
        assert errors.transcripts == 2


def test_words_are_drawn_from_training() -> None:
    corpus = corpus_of(["One two.", "two", "three"], ["train", "train", "test"])
    assert training_words(corpus) == ["one", "two", "two"]
    assert training_words(corpus.select(corpus.table["split"] == "test")) == ["three"]
    changed, _ = with_condition(corpus, Condition.parse("wer:1"), training_words(corpus))
    drawn = {word for text in changed.table["transcript"] for word in text.split()}
    assert drawn <= {"One", "two", "two.", "three", "one"}


@pytest.mark.parametrize("text", ["wer", "wer:", "wer:1.5", "wer:-1", "wer:nan", "asr", "gold:1", ""])
def test_unknown_conditions(text: str) -> None:
    with pytest.raises(MMERError, match="it must be gold, none, or wer"):
        Condition.parse(text)


def test_no_words_to_draw_from() -> None:
    with pytest.raises(MMERError, match="two different words"):
        with_condition(corpus_of(["one"]), Condition.parse("wer:0.1"), ["one", "one"])
