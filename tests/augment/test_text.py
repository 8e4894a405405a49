from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmer.augment import perturb

seeds = st.integers(min_value=0, max_value=2**63)
probabilities = st.floats(min_value=0, max_value=1)


@given(st.text(), seeds, probabilities, probabilities, probabilities)
def test_uses_only_words_of_the_text_at_most_twice_and_never_none(text, seed, drop, swap, repeat):
    view = perturb(text, seed, drop=drop, swap=swap, repeat=repeat)
    assert bool(view.strip()) == bool(text.strip())
    if len(text.split()) > 1:
        given_words, view_words = Counter(text.split()), Counter(view.split())
        assert all(count <= 2 * given_words[word] for word, count in view_words.items())


@given(st.text(), seeds)
def test_is_deterministic(text, seed):
    assert perturb(text, seed) == perturb(text, seed)


def test_zero_probabilities_change_nothing_but_blanks():
    assert perturb(" I  am\tfine . ", 3, drop=0, swap=0, repeat=0) == "I am fine ."


def test_each_change_alone():
    text = "one two three four"
    assert perturb(text, 0, drop=0, swap=1, repeat=0) == "two one four three"
    assert perturb(text, 0, drop=0, swap=0, repeat=1) == "one one two two three three four four"
    assert perturb(text, 0, drop=1, swap=0, repeat=0) in text.split()


def test_frequencies_are_the_probabilities():
    text = " ".join(map(str, range(100)))
    kept = sum(len(perturb(text, seed, drop=0.2, swap=0, repeat=0).split()) for seed in range(100))
    doubled = sum(len(perturb(text, seed, drop=0, swap=0, repeat=0.3).split()) - 100 for seed in range(100))
    assert kept == pytest.approx(8000, abs=160)  # four standard deviations
    assert doubled == pytest.approx(3000, abs=185)


def test_different_seeds_give_different_views():
    text = "the train leaves at nine from the other platform"
    assert len({perturb(text, seed) for seed in range(50)}) > 20


def test_missing_and_empty_transcripts_stay():
    assert perturb(None, 1) is None
    assert perturb("", 1) == ""
    assert perturb("   ", 1) == "   "


def test_text_without_blanks_is_perturbed_by_character():
    text = "我今天非常高兴"
    views = {perturb(text, seed, drop=0.3, swap=0, repeat=0) for seed in range(20)}
    assert len(views) > 5
    assert all(view and set(view) <= set(text) for view in views)


def test_a_single_word_is_not_taken_apart():
    assert {perturb("nie", seed, drop=0.9, repeat=0) for seed in range(20)} == {"nie"}
