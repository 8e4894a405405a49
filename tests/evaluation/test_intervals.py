import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import t as student
from sklearn.metrics import accuracy_score, f1_score, recall_score

from mmer import studentized
from mmer.errors import MMERError
from mmer.evaluation.intervals import (
    FIGURES,
    cluster_margins,
    figure_of,
    interval,
    weight_of,
    weighted_figure,
    with_intervals,
)
from mmer.evaluation.metrics import compute_metrics
from mmer.studentized import Studentized, degrees_of_freedom, studentize

LABELS = ["angry", "happy", "neutral", "sad"]
ALL = (*FIGURES, *(f"recall_{label}" for label in LABELS))


def made(sizes: list[int], accuracies: list[float] | NDArray[np.float64], seed: int = 0) -> pd.DataFrame:
    """Predictions that are right with another probability for each speaker, and wrong evenly."""
    rng = np.random.default_rng(seed)
    speaker = np.repeat(np.arange(len(sizes)), sizes)
    truth = rng.choice(4, len(speaker), p=[0.2, 0.3, 0.31, 0.19])
    right = rng.random(len(speaker)) < np.asarray(accuracies)[speaker]
    predicted = np.where(right, truth, (truth + rng.integers(1, 4, len(speaker))) % 4)
    labels = np.array(LABELS, dtype=object)
    return pd.DataFrame(
        {"speaker": speaker.astype(str), "emotion": labels[truth], "predicted": labels[predicted]}
    )


def scored(*right_and_total: tuple[int, int]) -> pd.DataFrame:
    """Speakers with so many of so many utterances right, all of them angry or taken for angry."""
    return pd.DataFrame(
        [
            {"speaker": f"s{place}", "emotion": "angry", "predicted": "angry" if n < right else "sad"}
            for place, (right, total) in enumerate(right_and_total)
            for n in range(total)
        ]
    )


def all_slow(rows: pd.DataFrame) -> dict[str, float]:
    """`ALL` as scikit-learn has them."""
    truth, predicted = rows["emotion"], rows["predicted"]
    recalls = {
        f"recall_{label}": (predicted[truth == label] == label).mean() if (truth == label).any() else np.nan
        for label in LABELS
    }
    undefined: dict[str, Any] = {"zero_division": 0}
    return {
        "accuracy": accuracy_score(truth, predicted),
        "balanced_accuracy": recall_score(
            truth, predicted, labels=sorted(set(truth)), average="macro", **undefined
        ),
        "macro_f1": f1_score(truth, predicted, average="macro", **undefined),
        "weighted_f1": f1_score(truth, predicted, average="weighted", **undefined),
        **recalls,
    }


def slow(rows: pd.DataFrame, figure: str) -> float:
    return all_slow(rows)[figure]


class TestFigure:
    @settings(max_examples=40)
    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
    def test_is_that_of_scikit_learn_and_of_compute_metrics(self, pairs: list[tuple[int, int]]) -> None:
        rows = pd.DataFrame(
            {"emotion": [LABELS[a] for a, _ in pairs], "predicted": [LABELS[b] for _, b in pairs]}
        )
        margins = cluster_margins(rows, LABELS, pd.Series(0, rows.index))[0]
        for figure, value in all_slow(rows).items():
            assert figure_of(margins, figure, LABELS)[0] == pytest.approx(value, nan_ok=True)
        metrics = compute_metrics(rows["emotion"].tolist(), rows["predicted"].tolist(), LABELS)
        for figure in FIGURES:
            assert interval(rows, figure, labels=LABELS).estimate == getattr(metrics, figure)

    @pytest.mark.parametrize("figure", ALL)
    def test_influence_is_the_derivative(self, figure: str) -> None:
        margins = cluster_margins(rows := made([7, 20, 12], [0.5, 0.8, 0.6]), LABELS, rows["speaker"])
        weights = np.array([[1.0, 2.0, 0.0], [1.0, 1.0, 1.0]])
        _, influence = weighted_figure(margins, weights, figure, LABELS)
        step = 1e-6
        for cluster in range(3):
            nudge = step * np.eye(3)[cluster]
            above = weighted_figure(margins, weights + nudge, figure, LABELS)[0]
            below = weighted_figure(margins, weights - nudge, figure, LABELS)[0]
            assert influence[:, cluster] == pytest.approx((above - below) / (2 * step), abs=1e-7)


class TestMethod:
    def test_error_by_hand(self) -> None:
        # Speakers of ten with 5, 6 and 7 right: influences (-1 0 1)/30, error sqrt(3/2 * 2/900) on 60 %.
        rows = scored((5, 10), (6, 10), (7, 10))
        margins = cluster_margins(rows, ["angry", "sad"], rows["speaker"])
        spread = studentize(
            lambda weights: weighted_figure(margins, weights, "accuracy", ["angry", "sad"]),
            np.full(3, 1 / 3),
            50,
            0,
        )
        assert spread is not None
        assert (spread.estimate, spread.error) == (pytest.approx(0.6), pytest.approx(np.sqrt(1 / 300)))
        # A resample of speakers 0, 0, 1 has 16 of 30 right, and the error sqrt(3/2 * (2 + 4)/90**2).
        assert np.isclose(spread.moves, (0.6 - 16 / 30) / np.sqrt(1.5 * 6) * 90).any()
        # With speakers of equal weight the two t quantiles are the same.
        assert (spread.freedom, spread.widening) == (pytest.approx(2), pytest.approx(1))
        assert spread.reach(0.95) == pytest.approx(student.ppf(0.975, 2) * spread.error)

    def test_the_smaller_of_two_reaches_and_not_below_t(self) -> None:
        moves = np.linspace(0, 6, 601)  # 95 % within 5.7
        plain = student.ppf(0.975, 9)
        for freedom, widening, expected in (
            (3.0, 1.1, 1.1 * student.ppf(0.975, 3)),
            (2.0, 2.0, 5.7),
            (9.0, 0.5, plain),
        ):
            spread = Studentized(0.3, 0.1, moves, 10, freedom, widening)
            assert spread.reach(0.95) == pytest.approx(0.1 * expected)
            for estimate in (float(0.099 * expected), float(0.101 * expected)):
                tested = Studentized(estimate, 0.1, moves, 10, freedom, widening)
                assert (tested.p_value() < 0.05) == (tested.reach(0.95) < estimate)

    @given(st.lists(st.floats(0.01, 1), min_size=2, max_size=8))
    def test_degrees_of_freedom_from_matrices(self, parts: list[float]) -> None:
        weight = np.array(parts) / np.sum(parts)
        assert degrees_of_freedom(weight) == pytest.approx(slow_freedom(weight))
        assert 1 - 1e-6 < degrees_of_freedom(weight) < len(weight) - 1 + 1e-6

    @pytest.mark.parametrize("figure", ALL)
    def test_weights_are_parts_of_the_figure(self, figure: str) -> None:
        rows = made([7, 20, 12], [0.5, 0.8, 0.6])
        weight = weight_of(cluster_margins(rows, LABELS, rows["speaker"]), figure, LABELS)
        parts = pd.crosstab(rows["speaker"], rows["emotion"])
        by_class = parts / parts.sum()
        expected = {"accuracy": parts.sum(axis=1) / len(rows), "balanced_accuracy": by_class.mean(axis=1)}
        expected |= {"weighted_f1": expected["accuracy"], "macro_f1": expected["balanced_accuracy"]}
        expected |= {f"recall_{label}": by_class[label] for label in LABELS}
        assert weight == pytest.approx(expected[figure].to_numpy())

    @pytest.mark.parametrize(
        "figure", ["accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "recall_neutral"]
    )
    def test_against_drawing_speakers_one_by_one(self, figure: str) -> None:
        rows, resamples, step = made([15, 40, 24, 30, 35], [0.5, 0.8, 0.6, 0.7, 0.4]), 40, 1e-6
        groups = [group for _, group in rows.groupby("speaker")]

        def slopes(drawn: list[pd.DataFrame]) -> NDArray[np.float64]:
            """How much the logit changes with a little more of each speaker."""
            margins = np.array([cluster_margins(g, LABELS, pd.Series(0, g.index))[0] for g in drawn])
            values = [logit(figure_of(margins.sum(0) + step * own, figure, LABELS)[0]) for own in margins]
            return (np.array(values) - logit(figure_of(margins.sum(0), figure, LABELS)[0])) / step

        def error(drawn: list[pd.DataFrame]) -> float:
            return float(np.sqrt(5 / 4 * (slopes(drawn) ** 2).sum()))

        estimate = logit(slow(rows, figure))
        rng, moves = np.random.default_rng(7), []
        for weights in rng.multinomial(5, [0.2] * 5, resamples):
            drawn = [group for group, times in zip(groups, weights, strict=True) for _ in range(times)]
            if len({id(group) for group in drawn}) > 1:
                value = logit(slow(pd.concat(drawn), figure))
                moves.append(abs(value - estimate) / error(drawn))
        assert np.isfinite(moves).all()
        weight = weight_of(cluster_margins(rows, LABELS, rows["speaker"]), figure, LABELS)
        squares = slopes(groups) ** 2
        corrected = np.sqrt((squares / (1 - 2 * weight + (weight**2).sum())).sum())
        uneven = student.ppf(0.975, slow_freedom(weight)) * corrected
        drawn, plain = np.quantile(moves, 0.95) * error(groups), student.ppf(0.975, 4) * error(groups)
        reach = max(plain, min(uneven, drawn))
        found = interval(rows, figure, labels=LABELS, resamples=resamples, seed=7)
        ends = expit([estimate - reach, estimate + reach])
        assert (found.low, found.high) == (pytest.approx(ends[0], abs=1e-4), pytest.approx(ends[1], abs=1e-4))
        assert found.estimate == pytest.approx(slow(rows, figure))

    def test_is_the_same_in_pieces_and_in_another_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = made([5, 60, 5, 20, 25, 10, 12], [0.5, 0.9, 0.6, 0.7, 0.4, 0.6, 0.7])
        whole = interval(rows)
        assert interval(rows.sample(frac=1, random_state=1)) == whole
        assert interval(rows, seed=1) != whole
        monkeypatch.setattr(studentized, "_AT_ONCE", 37)
        assert interval(rows) == whole

    @given(
        st.lists(st.tuples(st.integers(1, 12), st.floats(0, 1)), min_size=3, max_size=7),
        st.sampled_from(FIGURES),
        st.integers(0, 1000),
    )
    def test_holds_the_figure(self, speakers: list[tuple[int, float]], figure: str, seed: int) -> None:
        rows = made([size for size, _ in speakers], [accuracy for _, accuracy in speakers], seed)
        found = interval(rows, figure, resamples=50)
        if found.low is None or found.high is None:
            assert (found.note or "").startswith("no interval: ")
            assert found.low is found.high
        else:
            assert 0 <= found.low <= found.estimate <= found.high <= 1
            wider = interval(rows, figure, confidence=0.99, resamples=50)
            assert wider.low is not None
            assert wider.low <= found.low


def slow_freedom(weight: NDArray[np.float64]) -> float:
    """Satterthwaite's degrees of freedom of the corrected variance of a weighted mean."""
    count = len(weight)
    residual = np.eye(count) - np.outer(np.ones(count), weight)
    leverage = np.diag(residual @ residual.T)
    form = residual.T @ np.diag(weight**2 / leverage) @ residual
    return float(np.trace(form) ** 2 / np.trace(form @ form))


def percentiles(
    rows: pd.DataFrame, rng: np.random.Generator, *, of_speakers: bool
) -> tuple[np.float64, np.float64]:
    """The usual bootstrap: quantiles of the balanced accuracy of resampled speakers or utterances."""
    # Utterances of one cell of the confusion matrix are all the same, so a cell is drawn as often as it is large.
    clusters = rows["speaker"] if of_speakers else rows["emotion"] + rows["predicted"]
    margins = cluster_margins(rows, LABELS, clusters)
    sizes = np.ones(len(margins)) if of_speakers else margins[:, 0].sum(axis=1)
    weights = rng.multinomial(int(sizes.sum()), sizes / sizes.sum(), 200) / sizes
    low, high = np.quantile(weighted_figure(margins, weights, "balanced_accuracy", LABELS)[0], [0.025, 0.975])
    return low, high


@pytest.mark.parametrize(("speakers", "spread"), [pytest.param(6, 0.0, marks=pytest.mark.slow), (20, 0.6)])
def test_intervals_hold_the_truth_as_often_as_they_claim(speakers: int, spread: float) -> None:
    rng = np.random.default_rng(speakers)
    held = {"mmer": 0, "quantiles of speakers": 0, "quantiles of utterances": 0}
    datasets = 400
    for _ in range(datasets):
        lengths = 40 * np.exp(rng.normal(-(spread**2) / 2, spread, speakers))
        sizes = np.maximum(4, np.round(lengths)).astype(int)
        rows = made(sizes.tolist(), rng.beta(0.7 * 15, 0.3 * 15, speakers), int(rng.integers(2**31)))
        found = interval(rows, resamples=500, seed=int(rng.integers(2**31)))
        assert found.low is not None
        assert found.high is not None
        # Errors are even, so that 70 % is the balanced accuracy of infinitely many speakers.
        held["mmer"] += int(found.low <= 0.7 <= found.high)
        for name in ("speakers", "utterances"):
            low, high = percentiles(rows, rng, of_speakers=name == "speakers")
            held[f"quantiles of {name}"] += int(low <= 0.7 <= high)
    shares = {name: count / datasets for name, count in held.items()}
    assert 0.93 <= shares["mmer"] <= 0.97, shares
    assert shares["quantiles of speakers"] < shares["mmer"], shares
    assert shares["quantiles of utterances"] < 0.75, shares


class TestNoInterval:
    def test_of_two_speakers(self) -> None:
        found = interval(scored((5, 10), (6, 10)), "accuracy")
        assert (found.estimate, found.low, found.high, found.clusters) == (0.55, None, None, 2)
        assert found.note == "no interval: 2 speakers, at least 3 are needed"

    def test_where_a_speaker_is_not_known(self) -> None:
        rows = scored((5, 10), (6, 10), (7, 10))
        rows.loc[3, "speaker"] = None
        found = interval(rows, "accuracy")
        assert (found.estimate, found.low) == (0.6, None)
        assert found.note == "no interval: 1 of 30 utterances has no speaker"
        assert interval(rows, cluster="session").note == "no interval: the predictions have no column session"

    def test_of_a_figure_that_is_1(self) -> None:
        found = interval(scored((10, 10), (10, 10), (10, 10)), "accuracy")
        assert found.note == "no interval: a figure of exactly 100% shows no spread of speakers"

    def test_where_all_speakers_are_alike(self) -> None:
        found = interval(scored((6, 10), (6, 10), (6, 10)), "accuracy")
        assert found.note == "no interval: the figure is the same for all 3 speakers"

    def test_of_a_recall_that_two_speakers_have(self) -> None:
        rows = made([20, 20, 20, 20], [0.5, 0.6, 0.7, 0.8])
        rows = rows[(rows["emotion"] != "sad") | rows["speaker"].isin(["0", "1"])]
        assert interval(rows, "recall_sad").clusters == 2
        assert interval(rows, "recall_sad").low is None
        assert interval(rows, "recall_angry").clusters == 4


def test_a_p_value_counts_what_was_found_among_the_resamples() -> None:
    moves = np.linspace(0, 3, 99)
    found = Studentized(estimate=10.0, error=1.0, moves=moves, clusters=99, freedom=1.0, widening=1.0)
    assert found.p_value() == 1 / 100


class TestWarning:
    def test_few_speakers(self) -> None:
        found = interval(scored((5, 10), (6, 10), (7, 10), (8, 10)), "accuracy")
        assert found.low is not None
        assert found.note == "4 speakers are few, the interval is rough"

    def test_few_speakers_with_most_of_the_weight(self) -> None:
        small = [(right, 10) for right in (5, 6, 7, 8, 5, 6, 7, 8, 6)]
        found = interval(scored((60, 90), *small), "accuracy")
        assert found.note == "one of 10 speakers has 50% of the weight, the interval is rough"
        assert interval(scored((30, 45), *small), "accuracy").note is None

    def test_an_emotion_of_one_speaker(self) -> None:
        rows = made([20] * 6, [0.6, 0.7, 0.5, 0.6, 0.8, 0.7])
        rows = rows[(rows["emotion"] != "sad") | (rows["speaker"] == "2")]
        for labels in (None, [*LABELS, "calm"]):  # nobody is calm
            found = interval(rows, labels=labels)
            assert found.note == "one speaker alone has sad, whose spread is not in the interval"
        assert interval(rows, "accuracy").note is None


def test_answers_alone_count() -> None:
    rows = scored((5, 10), (6, 10), (7, 10))
    unanswered = pd.DataFrame(
        {"speaker": ["s0", "s9"], "emotion": ["angry", "sad"], "predicted": [None, None]}
    )
    assert interval(pd.concat([rows, unanswered]), "accuracy") == interval(rows, "accuracy")


def test_as_metrics_json_holds_them() -> None:
    rows = made([20] * 6, [0.6, 0.7, 0.5, 0.6, 0.8, 0.7])
    intervals = with_intervals(rows, LABELS)
    found = json.loads(json.dumps({name: asdict(each) for name, each in intervals.items()}))
    assert list(found) == list(FIGURES)
    fields = ["estimate", "low", "high", "confidence", "clusters", "cluster", "note"]
    assert list(found["macro_f1"]) == fields
    assert found["macro_f1"]["estimate"] == pytest.approx(slow(rows, "macro_f1"))


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda rows: interval(rows, "f1"), "unknown figure 'f1'; known are accuracy, "),
        (lambda rows: interval(rows, "recall_joy"), "unknown figure 'recall_joy'"),
        (lambda rows: interval(rows, "recall_happy", labels=LABELS), "no utterance is 'happy'"),
        (lambda rows: interval(rows, labels=["angry"]), "'sad': the labels are angry"),
        (lambda rows: interval(rows.assign(predicted=None)), "no utterance has an answer"),
        (
            lambda rows: interval(rows.assign(emotion=None)),
            "30 of 30 predictions without a true emotion",
        ),
    ],
)
def test_what_cannot_be_judged(broken: Callable[[pd.DataFrame], object], told: str) -> None:
    with pytest.raises(MMERError, match=told):
        broken(scored((5, 10), (6, 10), (7, 10)))
