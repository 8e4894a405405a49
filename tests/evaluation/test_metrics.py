import warnings
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmer.errors import MMERError
from mmer.evaluation.metrics import compute_metrics

LABELS = ["angry", "happy", "neutral", "sad"]


def test_by_hand():
    # angry: 2 of 3 right, happy: 1 of 1, neutral: 0 of 2, sad: not there but predicted once.
    truth = ["angry", "angry", "angry", "happy", "neutral", "neutral"]
    predicted = ["angry", "angry", "happy", "happy", "angry", "sad"]
    figures = compute_metrics(truth, predicted, LABELS)
    assert [field.name for field in fields(figures)] == [
        *("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1"),
        *("recall", "confusion_matrix", "labels", "utterances"),
    ]
    assert figures.accuracy == pytest.approx(3 / 6)
    assert figures.recall == {"angry": pytest.approx(2 / 3), "happy": 1.0, "neutral": 0.0, "sad": None}
    assert figures.balanced_accuracy == pytest.approx((2 / 3 + 1 + 0) / 3)
    # F1 of angry: 2 * 2 / (3 + 3); of happy: 2 * 1 / (1 + 2); of neutral and sad: 0.
    assert figures.macro_f1 == pytest.approx((2 / 3 + 2 / 3 + 0 + 0) / 4)
    assert figures.weighted_f1 == pytest.approx((3 * 2 / 3 + 1 * 2 / 3 + 2 * 0) / 6)
    assert figures.confusion_matrix == [[2, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]]
    assert figures.labels == LABELS
    assert figures.utterances == 6


def test_accuracy_and_balanced_accuracy_are_not_swapped():
    # Nine of ten are neutral and everything is called neutral: WA 90 %, UA 50 %.
    figures = compute_metrics(["neutral"] * 9 + ["sad"], ["neutral"] * 10, LABELS)
    assert (figures.accuracy, figures.balanced_accuracy) == (0.9, 0.5)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_against_counting(pairs: list[tuple[int, int]]):
    truth, predicted = ([LABELS[pair[side]] for pair in pairs] for side in (0, 1))
    figures = compute_metrics(truth, predicted, LABELS)
    counts = np.zeros((4, 4), int)
    for row, column in pairs:
        counts[row, column] += 1
    assert figures.confusion_matrix == counts.tolist()
    shares = [counts[i, i] / counts[i].sum() for i in range(4) if counts[i].sum()]
    assert figures.balanced_accuracy == pytest.approx(sum(shares) / len(shares))
    assert figures.accuracy == pytest.approx(
        sum(t == p for t, p in zip(truth, predicted, strict=True)) / len(pairs)
    )


def test_a_single_label_is_judged_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = compute_metrics(["sad", "sad"], ["sad", "sad"], ["sad"])
    assert (figures.accuracy, figures.macro_f1, figures.confusion_matrix) == (1.0, 1.0, [[2]])


def test_order_of_labels_is_the_order_of_the_matrix():
    figures = compute_metrics(["sad"], ["angry"], ["sad", "angry"])
    assert figures.confusion_matrix == [[0, 1], [0, 0]]


@pytest.mark.parametrize(
    ("truth", "predicted", "told"),
    [
        ([], [], "0 predictions of 0 utterances"),
        (["sad"], ["sad", "sad"], "2 predictions of 1 utterance"),
        (["joyful"], ["sad"], "'joyful': the labels are angry"),
        (["sad"], ["joyful"], "'joyful': the labels are angry"),
    ],
)
def test_what_cannot_be_judged(truth: list[str], predicted: list[str], told: str):
    with pytest.raises(MMERError, match=told):
        compute_metrics(truth, predicted, LABELS)
