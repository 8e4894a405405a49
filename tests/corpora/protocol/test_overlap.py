"""Near-duplicate transcripts: the fast search finds what comparing all pairs finds."""

from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmer.corpora.protocol.overlap import TranscriptIndex, near_duplicates, similarity
from mmer.corpora.readers.meld import read_meld
from mmer.errors import CorpusError
from mmer.text.transcripts import normalize_transcript

words = st.lists(st.sampled_from(["i", "you", "know", "do", "not"]), max_size=12).map(" ".join)
many_words = st.lists(st.integers(0, 4000).map(str), min_size=30, max_size=60).map(" ".join)


def all_pairs(test: list[str], train: list[str], threshold: float) -> list[bool]:
    return [
        any(
            SequenceMatcher(None, other.split(), text.split(), autojunk=False).ratio() >= threshold
            for other in train
        )
        for text in test
    ]


def test_similarity_counts_words() -> None:
    assert similarity("i do not know", "i really do not know") == 8 / 9
    assert similarity("a b", "b a") == 0.5
    assert similarity("", "") == 1.0
    assert similarity("a", "") == 0.0


def test_a_frequent_word_is_not_junk() -> None:
    """difflib leaves out what is frequent in more than 200 words unless told otherwise."""
    text = " ".join(["no"] * 250)
    assert similarity(text, f"yes {text}") == 500 / 501
    assert near_duplicates([text], [f"yes {text}"], 0.9).tolist() == [True]


@given(
    test=st.lists(words, max_size=8),
    train=st.lists(words, max_size=8),
    threshold=st.sampled_from([0.1, 0.5, 2 / 3, 0.8, 0.9, 1.0]),
)
def test_equals_comparing_all_pairs(test: list[str], train: list[str], threshold: float) -> None:
    assert near_duplicates(test, train, threshold).tolist() == all_pairs(test, train, threshold)


@given(text=many_words, changes=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 4000)), max_size=20))
def test_long_texts_with_a_few_words_changed(text: str, changes: list[tuple[int, int]]) -> None:
    changed = text.split()
    for place, word in changes:
        changed[place] = str(word)
    other = [" ".join(changed), " ".join(changed[3:]), " ".join(reversed(changed))]
    for threshold in (0.7, 0.8, 0.9):
        assert near_duplicates([text], other, threshold).tolist() == all_pairs([text], other, threshold)


@pytest.mark.parametrize("threshold", [0.7, 0.8])
def test_equals_comparing_all_pairs_of_meld(shared: Path, threshold: float) -> None:
    table = read_meld(shared / "corpora" / "meld_text").table
    texts = {split: rows.map(normalize_transcript) for split, rows in table.groupby("split")["transcript"]}
    test, train = texts["test"].tolist()[::30], texts["train"].tolist()[::30]
    found = near_duplicates(test, train, threshold)
    assert found.tolist() == all_pairs(test, train, threshold)
    assert 5 < found.sum() < len(test) / 2


def test_nothing_to_look_in_or_for() -> None:
    assert near_duplicates([], ["a"], 0.8).shape == (0,)
    assert near_duplicates(["a", ""], [], 0.8).tolist() == [False, False]
    assert near_duplicates(["a"], ["a"], 1.0).dtype == np.bool_


def test_some_texts_do_not_count() -> None:
    index = TranscriptIndex(["a b c d e", "a b c d f"], 0.8)
    assert index.similar(["a b c d g"]) == [True]
    assert index.similar(["a b c d g"], lambda text, other: other.endswith("f")) == [True]
    assert index.similar(["a b c d g"], lambda text, other: False) == [False]


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.5])
def test_a_threshold_outside_its_range(threshold: float) -> None:
    with pytest.raises(CorpusError, match="allowed is above 0 and at most 1"):
        near_duplicates(["a"], ["a"], threshold)
