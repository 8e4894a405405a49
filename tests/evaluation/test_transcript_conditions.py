"""Word errors that are made, by what they are meant to be in sum."""

import pandas as pd
import pytest

from mmer.corpora.corpus import Corpus
from mmer.errors import MMERError
from mmer.evaluation.transcript_conditions import (
    TranscriptCondition,
    training_words,
    with_condition,
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


@pytest.mark.parametrize("rate", [0.1, 0.4, 1.0])
def test_degraded_transcripts_have_about_the_rate_asked_for(rate: float) -> None:
    corpus = corpus_of([" ".join(WORDS[i : i + 8]) for i in range(0, 40)] * 10)
    condition = TranscriptCondition.parse(f"wer:{rate}")
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
    changed, _ = with_condition(corpus, TranscriptCondition.parse("wer:0.5"), WORDS)
    alone, _ = with_condition(
        corpus.select(corpus.table.index == 7), TranscriptCondition.parse("wer:0.5"), WORDS
    )
    assert alone.table["transcript"].item() == changed.table["transcript"][7]
    assert changed.table["transcript"].nunique() == 20


def test_gold_none_and_no_errors() -> None:
    corpus = corpus_of(["I, well.", None, ""])
    for name, expected, rate in (
        ("gold", ["I, well.", None, ""], 0),
        ("none", [None] * 3, 1),
        ("wer:0", ["I, well.", None, ""], 0),
    ):
        changed, errors = with_condition(corpus, TranscriptCondition.parse(name), [])
        assert changed.table["transcript"].tolist() == expected
        assert errors.rate == rate
        assert errors.transcripts == 2


def test_words_are_drawn_from_training() -> None:
    corpus = corpus_of(["One two.", "two", "three"], ["train", "train", "test"])
    assert training_words(corpus) == ["one", "two", "two"]
    assert training_words(corpus.select(corpus.table["split"] == "test")) == ["three"]
    changed, _ = with_condition(corpus, TranscriptCondition.parse("wer:1"), training_words(corpus))
    drawn = {word for text in changed.table["transcript"] for word in text.split()}
    assert drawn <= {"One", "two", "two.", "three", "one"}


@pytest.mark.parametrize("text", ["wer", "wer:", "wer:1.5", "wer:-1", "wer:nan", "asr", "gold:1", ""])
def test_unknown_conditions(text: str) -> None:
    with pytest.raises(MMERError, match="it must be gold, none, or wer"):
        TranscriptCondition.parse(text)


def test_no_words_to_draw_from() -> None:
    with pytest.raises(
        MMERError, match=r"two different words .*; fill in transcripts, or leave out word errors"
    ):
        with_condition(corpus_of(["one"]), TranscriptCondition.parse("wer:0.1"), ["one", "one"])
