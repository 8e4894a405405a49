"""Standard errors of weighted statistics of independent clusters, and half-widths of their intervals.

`mmer.evaluation.intervals` describes the method and resamples speakers; the summaries of a timeline use it for
segments, without resampling.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

FEWEST = 3
"""Smallest number of clusters for an interval."""

_AT_ONCE = 2_000_000  # weights held in memory at a time

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], tuple[Floats, Floats]]
"""From how often each cluster counts, (resamples, clusters), to the value of each resample, (resamples,), and how much
one more of each cluster would change it, (resamples, clusters)."""


@dataclass(frozen=True)
class Studentized:
    """Statistic of clusters with its studentized bootstrap distribution.

    Attributes:
        estimate: the statistic.
        error: its linear standard error.
        moves: (resamples,) distance of each resample's value from `estimate` in units of its own error.
        clusters: number of clusters.
        freedom: degrees of freedom of the error, corrected for unequal weights of the clusters.
        widening: factor that corrects the error for unequal weights of the clusters.
    """

    estimate: float
    error: float
    moves: Floats
    clusters: int
    freedom: float
    widening: float

    def reach(self, confidence: float) -> float:
        """Return the half-width of the interval."""
        place = (1 + confidence) / 2
        uneven = stdtrit(self.freedom, place) * self.widening
        drawn = np.quantile(self.moves, confidence) if len(self.moves) else np.inf
        return float(max(stdtrit(self.clusters - 1, place), min(uneven, drawn)) * self.error)

    def p_value(self) -> float:
        """Return the two-sided p-value for a true value of zero; below 1 - c where the interval of coverage c excludes
        zero.
        """
        move = abs(self.estimate) / self.error
        uneven = 2 * stdtr(self.freedom, -move / self.widening)
        drawn = (1 + np.sum(self.moves >= move)) / (1 + len(self.moves))
        return float(max(2 * stdtr(self.clusters - 1, -move), min(uneven, drawn)))


def studentize(statistic: Statistic, weight: Floats, resamples: int, seed: int) -> Studentized | None:
    """Resample clusters and studentize the statistic.

    Args:
        statistic: a function of cluster weights.
        weight: (clusters,) share of each cluster in the statistic, adding up to 1; two clusters or more.
        resamples: number of bootstrap resamples; 0 for Student's t alone.
        seed: seed of the resampling.

    Returns:
        The studentized statistic; None where all clusters have the same value, so that the error is 0.
    """
    rng, clusters = np.random.default_rng(seed), len(weight)
    correction = clusters / (clusters - 1)
    values, influences = statistic(np.ones((1, clusters)))
    estimate, error = float(values[0]), float(np.sqrt(correction * (influences[0] ** 2).sum()))
    if not error > 1e-9:
        return None
    # With independent clusters of equal variance v around one mean, the expected squared deviation of cluster g from
    # the weighted mean is v * own[g].
    squares = (weight**2).sum()
    own = 1 - 2 * weight + squares
    widening = float(np.sqrt((influences[0] ** 2 / own).sum()) / error)
    moves = [np.zeros(0)]
    at_once = max(1, _AT_ONCE // clusters)
    for start in range(0, resamples, at_once):
        draws = min(at_once, resamples - start)
        weights = rng.multinomial(clusters, np.full(clusters, 1 / clusters), draws).astype(float)
        with np.errstate(divide="ignore", invalid="ignore"):  # the logit of 0 or 1 is infinite
            values, influences = statistic(weights)
            errors = np.sqrt(correction * (weights * influences**2).sum(axis=1))
        usable = np.isfinite(errors) & (errors > 1e-9 * error)
        moves.append(np.abs(values[usable] - estimate) / errors[usable])
    return Studentized(estimate, error, np.concatenate(moves), clusters, degrees_of_freedom(weight), widening)


def degrees_of_freedom(weight: Floats) -> float:
    """Compute Satterthwaite's degrees of freedom for the error of a weighted mean (as in Bell and McCaffrey).

    With n clusters of equal weight they are n - 1.

    Args:
        weight: (clusters,) adding up to 1.

    >>> round(degrees_of_freedom(np.full(6, 1 / 6)), 6), round(degrees_of_freedom(np.array([0.7, 0.1, 0.1, 0.1])), 2)
    (5.0, 1.06)
    """
    squares = (weight**2).sum()
    own = 1 - 2 * weight + squares
    a = weight**2 / own
    # The estimate of the variance is a quadratic form; this is the squared norm of its matrix times the covariance.
    across = (
        squares**2 * a.sum() ** 2
        + 2 * a.sum() * (a * weight**2).sum()
        - 4 * squares * a.sum() * (a * weight).sum()
        + 2 * (a * weight).sum() ** 2
    )
    norm = across + (a**2 * (own**2 - (squares - 2 * weight) ** 2)).sum()
    return float(squares**2 / norm)
