import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy.spatial.distance import jensenshannon

from mmer.corpora.corpus import Corpus
from mmer.errors import CorpusError, MMERError
from mmer.evaluation.annotators import annotator_table, judge_by_annotators, soft_labels

LABELS = ["angry", "happy", "sad"]
Votes = dict[str, list[str]]


def corpus_of(*votes: Votes | None, **columns: object) -> Corpus:
    table = pd.DataFrame(
        {
            "utterance_id": [f"u{n}" for n in range(len(votes))],
            "audio_path": None,
            "votes": [None if given is None else json.dumps(given) for given in votes],
            **columns,
        }
    )
    return Corpus(table, source="made")


def predicted(*probabilities: list[float]) -> pd.DataFrame:
    table = pd.DataFrame(probabilities, columns=pd.Index([f"probability_{label}" for label in LABELS]))
    answers = [LABELS[int(np.argmax(row))] for row in probabilities]
    return table.assign(utterance_id=[f"u{n}" for n in range(len(table))], predicted=answers)


class TestSoftLabels:
    def test_by_hand(self) -> None:
        corpus = corpus_of(
            {"E1": ["Anger"], "E2": ["Sadness", "Anger"], "E3": ["Anger"]},
            None,
            {"E1": ["Neutral state"], "E2": ["Happiness", "Frustration"]},
            {"E1": ["Other"]},
        )
        soft = soft_labels(corpus, LABELS)
        # Two and a half of three votes, of which one is shared; what is none of the classes does not count.
        expected = [[5 / 6, 0, 1 / 6], [np.nan] * 3, [0, 1, 0], [np.nan] * 3]
        np.testing.assert_allclose(soft.distributions, expected)
        assert soft.votes.tolist() == [[1, 0, 0], [0.5, 0, 0.5], [1, 0, 0], [0, 1, 0]]
        assert soft.utterance_of_vote.tolist() == [0, 0, 0, 2]
        assert soft.left_out == {"Neutral state": 1, "Frustration": 1, "Other": 1}
        assert soft.without_vote == 2
        assert soft.utterance_ids == ["u0", "u1", "u2", "u3"]

    def test_new_names(self) -> None:
        corpus = corpus_of({"1": ["Excited"], "2": ["gleeful"], "3": ["Happiness"]})
        assert soft_labels(corpus, LABELS).left_out == {"Excited": 1, "gleeful": 1}
        soft = soft_labels(corpus, LABELS, {"excited": "happy", "gleeful": "happy"})
        assert soft.distributions.tolist() == [[0, 1, 0]]
        assert (soft.left_out, len(soft.votes)) == ({}, 3)
        # A map is applied once, so that names may be exchanged.
        swapped = soft_labels(corpus, LABELS, {"excited": "happy", "happy": "sad"})
        np.testing.assert_allclose(swapped.distributions, [[0, 0.5, 0.5]])

    def test_actors_of_iemocap_do_not_rate_themselves(self) -> None:
        votes = {"E2": ["Anger"], "F1": ["Sadness"], "M3": ["Sadness"], "Fritz": ["Anger"]}
        corpus = corpus_of(votes, corpus="iemocap")
        assert soft_labels(corpus, LABELS).distributions.tolist() == [[1, 0, 0]]
        # In any other corpus they are raters like all others.
        assert soft_labels(corpus_of(votes), LABELS).distributions.tolist() == [[0.5, 0, 0.5]]

    def test_votes_are_for_the_names_that_the_model_has(self) -> None:
        corpus = corpus_of({"1": ["stressed"], "2": ["Zły"], "3": ["joy"], "4": ["happiness"]})
        soft = soft_labels(corpus, ["stressed", "zły", "joy"])
        assert soft.votes.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
        assert soft.left_out == {"happiness": 1}

    def test_letters_mean_something_in_crema_d_alone(self) -> None:
        votes = {"1": ["A"], "2": ["S"]}
        assert soft_labels(corpus_of(votes, corpus="crema-d"), LABELS).distributions.tolist() == [
            [0.5, 0, 0.5]
        ]
        with pytest.raises(CorpusError, match="made: no vote is for angry, happy, sad; its labels are A, S"):
            soft_labels(corpus_of(votes), LABELS)

    @pytest.mark.parametrize(
        ("corpus", "told"),
        [
            (
                Corpus(pd.DataFrame({"utterance_id": ["a"], "audio_path": None}), source="made"),
                "has no votes",
            ),
            (corpus_of(None, None), "made: has no votes of annotators; the column votes is missing or empty"),
            (Corpus(corpus_of(None).table.assign(votes="A")), "votes of 'u0' are not of the form"),
            (
                Corpus(corpus_of(None).table.assign(votes='{"E1": "Anger"}')),
                "votes of 'u0' are not of the form",
            ),
        ],
    )
    def test_what_cannot_be_read(self, corpus: Corpus, told: str) -> None:
        with pytest.raises(CorpusError, match=told):
            soft_labels(corpus, LABELS)


class TestModel:
    def test_by_hand(self) -> None:
        soft = soft_labels(corpus_of({"1": ["angry"], "2": ["sad"]}, {"1": ["happy"]}), LABELS)
        found = judge_by_annotators(predicted([0.5, 0.25, 0.25], [0.2, 0.8, 0.0]), soft)
        assert found is not None
        model = found.model
        # Half of the raters agree on the first, all on the second.
        assert model["soft_accuracy"] == pytest.approx((0.5 + 1) / 2)
        assert model["brier"] == pytest.approx(((0 + 0.25**2 + 0.25**2) + (0.2**2 + 0.2**2)) / 2)
        assert model["cross_entropy"] == pytest.approx(
            -(np.log(0.5) / 2 + np.log(0.25) / 2 + np.log(0.8)) / 2
        )
        assert model["entropy"] == pytest.approx(np.log(2) / 2)
        divergences = [
            jensenshannon([0.5, 0, 0.5], [0.5, 0.25, 0.25], 2),
            jensenshannon([0, 1, 0], [0.2, 0.8, 0], 2),
        ]
        assert model["jensen_shannon"] == pytest.approx(np.mean(np.square(divergences)))
        assert [found.utterances, found.votes, found.rated_twice] == [2, 3, 1]

    def test_a_probability_of_zero_is_not_infinitely_bad(self) -> None:
        soft = soft_labels(corpus_of({"1": ["angry"]}), LABELS)
        found = judge_by_annotators(predicted([0, 1, 0]), soft)
        assert found is not None
        assert found.model["cross_entropy"] == pytest.approx(12 * np.log(10))
        assert (found.model["jensen_shannon"], found.model["brier"]) == (pytest.approx(1), 2)
        assert found.human is found.model_against_others is None

    def test_unanswered_and_unrated_do_not_count(self) -> None:
        soft = soft_labels(corpus_of({"1": ["angry"]}, {"1": ["sad"]}, None), LABELS)
        table = predicted([1, 0, 0], [1, 0, 0], [1, 0, 0])
        table.loc[1, ["predicted", *table.columns[:3]]] = None
        found = judge_by_annotators(table.sample(frac=1, random_state=0), soft)
        assert found is not None
        assert (found.utterances, found.model["soft_accuracy"]) == (1, 1)
        assert judge_by_annotators(table[1:], soft) is None

    def test_without_probabilities(self) -> None:
        soft = soft_labels(corpus_of({"1": ["angry"]}), LABELS)
        with pytest.raises(
            MMERError, match="no column probability_sad, so they cannot be held against annotators"
        ):
            judge_by_annotators(predicted([1, 0, 0]).drop(columns="probability_sad"), soft)


class TestCeiling:
    def test_by_hand(self) -> None:
        # Each of three raters against the other two: A against A+S, A against A+S, S against A+A.
        soft = soft_labels(corpus_of({"1": ["angry"], "2": ["angry"], "3": ["sad"]}), LABELS)
        found = judge_by_annotators(predicted([0.6, 0.3, 0.1]), soft)
        assert found is not None
        human, model = found.human, found.model_against_others
        assert human is not None
        assert model is not None
        assert human["soft_accuracy"] == pytest.approx((0.5 + 0.5 + 0) / 3)
        assert human["accuracy"] == pytest.approx((0.5 + 0.5 + 0) / 3)
        # Of the two thirds of an utterance that are angry, and the third that is sad, so much is found.
        assert human["balanced_accuracy"] == pytest.approx(((0.5 + 0.5) / 2 + 0 / 1) / 2)
        assert human["brier"] == pytest.approx((0.5 + 0.5 + 2) / 3)
        assert model["soft_accuracy"] == pytest.approx(found.model["soft_accuracy"])
        assert model["accuracy"] == pytest.approx((0.5 + 0.5 + 1) / 3)

    def test_a_tie_of_many_raters_is_one(self) -> None:
        # 15 and 14: without one of the 15 it is a tie, though 15/29 * 29 - 1 is not exactly 14.
        votes = {str(n): ["angry" if n < 15 else "sad"] for n in range(29)}
        found = judge_by_annotators(predicted([0.6, 0.3, 0.1]), soft_labels(corpus_of(votes), LABELS))
        assert found is not None
        assert found.human is not None
        assert found.human["accuracy"] == pytest.approx(15 * 0.5 / 29)

    def test_of_raters_who_agree_is_perfect(self) -> None:
        soft = soft_labels(corpus_of({"1": ["sad"], "2": ["sad"]}, {"1": ["happy"], "2": ["happy"]}), LABELS)
        found = judge_by_annotators(predicted([1, 0, 0], [0, 1, 0]), soft)
        assert found is not None
        perfect = {"soft_accuracy": 1, "accuracy": 1, "balanced_accuracy": 1, "jensen_shannon": 0, "brier": 0}
        assert found.human == pytest.approx(perfect)
        assert found.model_against_others is not None
        assert found.model_against_others["accuracy"] == pytest.approx(0.5)

    @given(
        st.lists(
            st.lists(st.lists(st.sampled_from(LABELS), min_size=1, max_size=2), min_size=1, max_size=4),
            min_size=1,
            max_size=4,
        )
    )
    def test_against_one_rater_at_a_time(self, given_labels: list[list[list[str]]]) -> None:
        votes = [{str(n): labels for n, labels in enumerate(raters)} for raters in given_labels]
        soft = soft_labels(corpus_of(*votes), LABELS)
        probabilities = [[0.5, 0.3, 0.2], [0.1, 0.7, 0.2], [0.3, 0.3, 0.4], [0.2, 0.5, 0.3]][: len(votes)]
        found = judge_by_annotators(predicted(*probabilities), soft)
        assert found is not None
        rated = [raters for raters in given_labels if len(raters) > 1]
        if not rated:
            assert found.human is None
            return
        sums = {"soft_accuracy": 0.0, "brier": 0.0, "jensen_shannon": 0.0}
        recall = np.zeros((2, 3))
        for raters in rated:
            shares = [np.array([labels.count(label) for label in LABELS]) / len(labels) for labels in raters]
            for place, vote in enumerate(shares):
                others = np.mean([share for other, share in enumerate(shares) if other != place], axis=0)
                weight = 1 / len(raters) / len(rated)
                chosen = np.isclose(vote, vote.max()) / np.isclose(vote, vote.max()).sum()
                sums["soft_accuracy"] += weight * sum(c * o for c, o in zip(chosen, others, strict=True))
                sums["brier"] += weight * sum((v - o) ** 2 for v, o in zip(vote, others, strict=True))
                sums["jensen_shannon"] += weight * np.nan_to_num(jensenshannon(vote, others, 2)) ** 2
                most = np.flatnonzero(np.isclose(others, others.max()))
                for true, said in product(most, range(3)):
                    recall[:, true] += weight * vote[said] / len(most) * np.array([true == said, 1])
        expected = {**sums, "accuracy": recall[0].sum()}
        expected["balanced_accuracy"] = np.mean(recall[0][recall[1] > 0] / recall[1][recall[1] > 0])
        assert found.human == pytest.approx(expected, abs=1e-7)


def test_the_terminal_shows_model_and_ceiling() -> None:
    soft = soft_labels(corpus_of({"1": ["angry"], "2": ["angry"], "3": ["sad"]}), LABELS)
    found = judge_by_annotators(predicted([0.6, 0.3, 0.1]), soft)
    assert found is not None
    with (console := Console(width=120)).capture() as captured:
        console.print(annotator_table(found))
    lines = captured.get().splitlines()
    assert "Against 3 votes of annotators on 1 utterance" in lines[0]
    (line,) = [line for line in lines if "agrees with most raters" in line]
    assert "66.7%" in line
    assert "33.3%" in line
    assert any("entropy of the raters" in line for line in lines)
