"""Conformal prediction sets: for each answer, the emotions that include the true one with a stated probability.

The sets are split conformal. The score of an answer is 1 minus the probability of its true emotion (LAC; Sadinle, Lei
and Wasserman, Least ambiguous set-valued classifiers with bounded error levels, 2019).
"""

from collections.abc import Mapping, Sequence

import numpy as np


def label_set(
    probabilities: Mapping[str, float],
    scores: Mapping[str, Sequence[float]],
    coverage: float,
    *,
    by_class: bool = False,
) -> list[str]:
    """Choose emotions that include the true one with a given probability, most probable first; never empty.

    Args:
        probabilities: calibrated probability of every emotion.
        scores, coverage, by_class: see `thresholds`.
    """
    limits = thresholds(scores, coverage, by_class=by_class)
    ranking = sorted(probabilities, key=lambda label: probabilities[label], reverse=True)
    # The most probable emotion is always included, which can only increase the coverage.
    return [
        label
        for place, label in enumerate(ranking)
        if place == 0 or 1 - probabilities[label] <= limits[label] + 1e-12
    ]


def thresholds(
    scores: Mapping[str, Sequence[float]], coverage: float, *, by_class: bool = False
) -> dict[str, float]:
    """Compute the largest score, 1 minus its probability, with which each emotion enters a label set.

    With n scores it is the ceil((n + 1) coverage)-th smallest: then a new answer's true emotion is in the set with that
    probability at least, if it is like those calibrated on (exchangeable). `mmer calibrate` computes each score with a
    fit to other speakers, and new answers with a fit to all, so that this holds approximately. With too few scores, it
    is 1, and the emotion is in every set.

    Args:
        scores: of the utterances calibrated on, by their true emotion; see `CalibratedCondition.scores`.
        coverage: share of answers whose set contains the true emotion, between 0 and 1.
        by_class: hold the coverage for each emotion, not only on average.
    """
    if by_class:
        return {label: _quantile(found, coverage) for label, found in scores.items()}
    together = _quantile([score for found in scores.values() for score in found], coverage)
    return dict.fromkeys(scores, together)


def _quantile(scores: Sequence[float], coverage: float) -> float:
    # MAPIE needs a scikit-learn estimator; from scores alone, the threshold is one order statistic.
    place = int(np.ceil(round((len(scores) + 1) * coverage, 9)))
    return float(np.sort(scores)[place - 1]) if place <= len(scores) else 1.0
