"""Confidence intervals that account for the dependence of utterances of one speaker.

A figure of a test set varies more with its speakers than with their utterances, so speakers are resampled. With 5 to 10
speakers, the usual percentile bootstrap covers the true value in 80 to 90 % of the cases instead of 95 %. This module
works on the logit of a figure, so that an interval stays between 0 and 1:

1. The figure's linear error: each speaker's influence on it, squared and summed, times G / (G - 1) for G speakers.
2. The half-width in units of that error, computed in two ways, of which the smaller counts:
   draw G speakers with replacement, 2000 times, and take the 95 % quantile of the distances of the resampled figures,
   in units of each resample's own error (the symmetric bootstrap-t of Hall, The Bootstrap and Edgeworth Expansion,
   1992, section 3.6); take Student's t with the degrees of freedom and the error correction for speakers of unequal
   weight (Bell and McCaffrey, Survey Methodology 28, 2002).
3. The lower bound of the half-width is Student's t with G - 1 degrees of freedom.

The bootstrap-t is too wide with four to six speakers, because few different resamples exist; Student's t is too wide
where a few speakers have most utterances. `benchmarks/interval_coverage.py` measures the coverage of the intervals;
`docs/results.md` has the table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from mmer.errors import MMERError
from mmer.plain_text import counted, named_groups
from mmer.studentized import FEWEST, Floats, studentize

FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1")
"""Figures that have intervals, besides `recall_<emotion>`; as `compute_metrics` defines them."""

_WEIGHTED = ("accuracy", "weighted_f1")
_ROUGH = 5  # smallest number of speakers for an interval without a warning
_UNEVEN = 4.0
"""Kish's effective number of speakers, 1 over the sum of their squared weights, below which there is a warning."""


@dataclass(frozen=True)
class Interval:
    """Figure with a confidence interval for other speakers of the same population.

    Attributes:
        estimate: the figure, 0 to 1.
        low, high: ends of the interval, 0 to 1; None where there is none.
        confidence: nominal coverage of the interval, 0 to 1.
        clusters: number of speakers (or other values of `cluster`).
        cluster: the column that groups dependent utterances.
        note: why there is no interval, or why it is less reliable; None otherwise.
    """

    estimate: float
    low: float | None
    high: float | None
    confidence: float
    clusters: int
    cluster: str
    note: str | None = None


def interval(
    predictions: pd.DataFrame,
    figure: str = "balanced_accuracy",
    cluster: str = "speaker",
    labels: Sequence[str] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Compute a figure and its interval by resampling speakers, as the module docstring describes.

    Args:
        predictions: `emotion` (the truth), `predicted` and the column `cluster`; rows without an answer are skipped.
        figure: one of `FIGURES`, or `recall_<emotion>`.
        cluster: the column whose values are resampled: `speaker`, `session`, `dialogue` ...
        labels: all emotions of the model; None for those that occur.
        confidence: nominal coverage of the interval, 0 to 1.
        resamples: number of bootstrap resamples.
        seed: seed of the resampling.

    Returns:
        The figure and its interval. The interval is missing, and `note` says why, with fewer than three speakers, where
        an utterance has no speaker, or where the figure is 0 or 1 or the same for all speakers. With fewer than five
        speakers, or an emotion that only one speaker has, `note` warns.

    Raises:
        MMERError: there is nothing to judge, the figure is unknown, no utterance has the emotion of a recall, or an
            emotion is not in `labels`.
    """
    answered = predictions.dropna(subset=["predicted"])
    labels = known_labels(answered, labels)
    _check_figure(figure, answered, labels)
    if note := unclustered(answered, cluster):
        margins = cluster_margins(answered, labels, pd.Series(0, answered.index))
        return Interval(value_of(margins, figure, labels), None, None, confidence, 0, cluster, note)
    margins = cluster_margins(answered, labels, answered[cluster])
    margins = margins[concerned(margins, figure, labels)]
    estimate = value_of(margins, figure, labels)
    found = Interval(estimate, None, None, confidence, len(margins), cluster)
    if len(margins) < FEWEST:
        return replace(
            found, note=f"no interval: {named_groups(cluster, len(margins))}, at least {FEWEST} are needed"
        )
    if not 0 < estimate < 1:
        return replace(
            found,
            note=f"no interval: a figure of exactly {estimate:.0%} shows no spread of {named_groups(cluster)}",
        )

    def on_logit(weights: Floats) -> tuple[Floats, Floats]:
        value, influence = weighted_figure(margins, weights, figure, labels)
        return logit(value), influence / (value * (1 - value))[:, None]

    spread = studentize(on_logit, weight_of(margins, figure, labels), resamples, seed)
    if spread is None:
        return replace(
            found, note=f"no interval: the figure is the same for all {named_groups(cluster, len(margins))}"
        )
    reach = spread.reach(confidence)
    low, high = expit([spread.estimate - reach, spread.estimate + reach])
    return replace(
        found, low=float(low), high=float(high), note=few_clusters(margins, figure, labels, cluster)
    )


def with_intervals(predictions: pd.DataFrame, labels: Sequence[str]) -> dict[str, Interval]:
    """Return the intervals of all of `FIGURES` over speakers, by the name of the figure."""
    return {figure: interval(predictions, figure, labels=labels) for figure in FIGURES}


def weighted_figure(
    margins: Floats, weights: Floats, figure: str, labels: Sequence[str]
) -> tuple[Floats, Floats]:
    """Compute a figure of weighted clusters and the influence of each cluster on it: a `Statistic`.

    Args:
        margins: (clusters, 3, classes) from `cluster_margins`.
        weights: (resamples, clusters).
        figure, labels: see `interval`.

    Returns:
        (resamples,) and (resamples, clusters).
    """
    flat = margins.reshape(len(margins), -1)
    totals = (weights @ flat).reshape(-1, *margins.shape[1:])
    value, gradient = figure_of(totals, figure, labels)
    return value, gradient.reshape(len(weights), -1) @ flat.T


def weight_of(margins: Floats, figure: str, labels: Sequence[str]) -> Floats:
    """Return the (clusters,) shares of clusters in a figure, adding up to 1, from the margins of `cluster_margins`."""
    true = margins[:, 0].sum(axis=0)
    weight = _class_weights(true, true > 0, figure, labels)
    share = weight / weight.sum()
    return (margins[:, 0] * np.divide(share, true, out=np.zeros_like(true), where=true > 0)).sum(axis=1)


def value_of(margins: Floats, figure: str, labels: Sequence[str]) -> float:
    """Compute a figure over all clusters from the margins of `cluster_margins`."""
    return float(figure_of(margins.sum(axis=0), figure, labels)[0])


def figure_of(margins: Floats, figure: str, labels: Sequence[str]) -> tuple[Floats, Floats]:
    """Compute a figure and its gradient from the margins of a confusion matrix.

    Each figure is a mean of recalls or F1 scores: unweighted over the classes that occur, or weighted by the number of
    utterances of each class.

    Args:
        margins: (..., 3, classes); the row sums, the column sums and the diagonal of confusion matrices.
        figure, labels: see `interval`.

    Returns:
        (...,) and (..., 3, classes); NaN where the class of a recall does not occur.
    """
    true, predicted, right = margins[..., 0, :], margins[..., 1, :], margins[..., 2, :]
    f1 = figure in ("macro_f1", "weighted_f1")
    factor = 2.0 if f1 else 1.0
    total = true + predicted if f1 else true
    present = total > 0
    total = np.where(present, total, 1.0)
    merit = factor * right / total
    weight = _class_weights(true, present, figure, labels)
    weights = weight.sum(axis=-1, keepdims=True)
    share = weight / weights
    value = (weight * factor * right / total).sum(axis=-1) / weights[..., 0]  # no sum of rounded shares
    by_total = -share * merit / total
    by_true = by_total
    if figure in _WEIGHTED:
        by_true = by_total + (merit - value[..., None]) / true.sum(axis=-1, keepdims=True)
    by_predicted = by_total if f1 else np.zeros_like(by_total)
    return value, np.stack([by_true, by_predicted, factor * share / total], axis=-2)


def _class_weights(true: Floats, present: NDArray[np.bool_], figure: str, labels: Sequence[str]) -> Floats:
    """Return the weight of each class in a figure, (..., classes)."""
    if figure in _WEIGHTED:
        return true
    if figure in FIGURES:
        return present.astype(float)
    asked = np.array([figure == f"recall_{label}" for label in labels])
    return np.where(present[..., asked], asked.astype(float), np.nan)


def cluster_margins(predictions: pd.DataFrame, labels: Sequence[str], clusters: pd.Series) -> Floats:
    """Return the margins that `figure_of` takes, (clusters, 3, classes), with clusters in sorted order."""
    cluster, names = pd.factorize(clusters, sort=True)
    truth, predicted = (
        pd.Index(labels).get_indexer(pd.Index(predictions[column])) for column in ("emotion", "predicted")
    )
    shape = (len(names), len(labels))

    def count(classes: NDArray[np.intp], rows: NDArray[np.bool_] | slice = slice(None)) -> NDArray[np.intp]:
        places = (cluster * len(labels) + classes)[rows]
        return np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape)

    margins = [count(truth), count(predicted), count(truth, truth == predicted)]
    return np.stack(margins, axis=1).astype(float)


def known_labels(predictions: pd.DataFrame, labels: Sequence[str] | None) -> list[str]:
    """Return the emotions to count: `labels`, or those that occur.

    Raises:
        MMERError: there is nothing to judge, an utterance has no emotion, or an emotion is not in `labels`.
    """
    if predictions.empty:
        raise MMERError("cannot judge 0 predictions; no utterance has an answer")
    if nulls := int(predictions["emotion"].isna().sum()):
        raise MMERError(
            f"cannot judge {counted(nulls, 'prediction', of=len(predictions))} without a true emotion"
        )
    found = sorted({*predictions["emotion"].unique(), *predictions["predicted"].unique()})
    if labels is None:
        return found
    if unknown := sorted(set(found) - set(labels)):
        raise MMERError(f"cannot judge {', '.join(map(repr, unknown))}: the labels are {', '.join(labels)}")
    return list(labels)


def _check_figure(figure: str, predictions: pd.DataFrame, labels: Sequence[str]) -> None:
    known = (*FIGURES, *(f"recall_{label}" for label in labels))
    if figure not in known:
        raise MMERError(f"unknown figure {figure!r}; known are {', '.join(known)}")
    label = figure.removeprefix("recall_")
    if figure not in FIGURES and label not in set(predictions["emotion"]):
        raise MMERError(f"no utterance is {label!r}, so there is no {figure}")


def unclustered(predictions: pd.DataFrame, cluster: str) -> str | None:
    """Return why predictions cannot be resampled by a column; None where they can."""
    if cluster not in predictions:
        return f"no interval: the predictions have no column {cluster}"
    if nulls := int(predictions[cluster].isna().sum()):
        return f"no interval: {counted(nulls, 'utterance', 'has', 'have', of=len(predictions))} no {cluster}"
    return None


def concerned(margins: Floats, figure: str, labels: Sequence[str]) -> NDArray[np.bool_]:
    """Return a (clusters,) mask of those with utterances that count in the figure."""
    of_class = [figure == f"recall_{label}" for label in labels]
    return np.asarray((margins[:, 0, of_class] > 0).all(axis=1))


def few_clusters(margins: Floats, figure: str, labels: Sequence[str], cluster: str) -> str | None:
    """Return a warning if too few clusters have most of the weight to estimate how much they differ, else None.

    Args:
        margins: (clusters, 3, classes) from `cluster_margins`.
        figure: the metric of the interval.
        labels: emotions, in the order of `margins`.
        cluster: what a cluster is called, such as `speaker`.
    """
    notes = []
    if len(margins) < _ROUGH:
        notes.append(f"{named_groups(cluster, len(margins))} are few, the interval is rough")
    of_one = [label for label, n in zip(labels, (margins[:, 0] > 0).sum(axis=0), strict=True) if n == 1]
    if of_one and figure in ("balanced_accuracy", "macro_f1"):
        notes.append(f"one {cluster} alone has {', '.join(of_one)}, whose spread is not in the interval")
    weight = weight_of(margins, figure, labels)
    if not notes and 1 / np.square(weight).sum() < _UNEVEN:
        largest = f"one of {named_groups(cluster, len(margins))} has {weight.max():.0%} of the weight"
        notes.append(f"{largest}, the interval is rough")
    return "; ".join(notes) or None
