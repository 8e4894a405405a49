"""Smoothing of the answers along a recording."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from math import exp

from mmer.inference.prediction import Prediction
from mmer.inference.timeline.segments import segment_end, segment_start


def smoothed(answers: Sequence[Prediction], seconds: float) -> list[Prediction]:
    """Smooth answers by an exponentially decaying average over earlier ones.

    With m_i the middle of segment i and d_i its duration in seconds (1 ms at least), its probabilities become those
    of the segments j of the same channel and speaker that come up to it in order of their middles, averaged with the
    weights d_j exp(-(m_i - m_j) / `seconds`). They still add up to 1. After 3 `seconds`, 5 % of a weight is left.

    Args:
        answers: answers, of emotions or of dimensions; those with an error stay unchanged.
        seconds: the time constant, above 0.

    Returns:
        The answers in the order given, with new `probabilities` and `label`, and without `contributions`; or with new
        `dimensions`.
    """
    order = sorted(range(len(answers)), key=lambda index: _middle(answers[index]))
    sums: dict[tuple[str, str | None], tuple[float, float, dict[str, float]]] = {}
    result = list(answers)
    for index in order:
        answer = answers[index]
        values = answer.probabilities or answer.dimensions
        if values is None:
            continue
        middle, weight = _middle(answer), max(segment_end(answer) - segment_start(answer), 1e-3)
        whose = (answer.channel, answer.speaker)
        before, total, sum_of = sums.get(whose, (middle, 0.0, defaultdict(float)))
        kept = exp((before - middle) / seconds)
        total = kept * total + weight
        sum_of = {name: kept * sum_of[name] + weight * value for name, value in values.items()}
        sums[whose] = middle, total, sum_of
        smooth = {name: value / total for name, value in sum_of.items()}
        if answer.probabilities is None:
            result[index] = replace(answer, dimensions=smooth)
            continue
        label = max(smooth, key=lambda name: smooth[name])
        none: dict[str, float | None] = dict.fromkeys(answer.contributions)
        result[index] = replace(answer, probabilities=smooth, label=label, contributions=none)
    return result


def _middle(answer: Prediction) -> float:
    return (segment_start(answer) + segment_end(answer)) / 2
