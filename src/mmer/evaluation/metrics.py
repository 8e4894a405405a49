"""Metrics of predicted emotions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmer.errors import MMERError
from mmer.evaluation.intervals import FIGURES, figure_of
from mmer.plain_text import counted

ALSO_CALLED = {
    "accuracy": "WA, weighted accuracy",
    "balanced_accuracy": "UA or UAR, unweighted average recall",
}
"""Names of the two accuracies in the literature on speech emotion recognition."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Metrics of predicted emotions. Shares are 0 to 1.

    Attributes:
        accuracy: share of utterances that are right (WA).
        balanced_accuracy: mean recall of the classes that occur in the truth (UA).
        macro_f1, weighted_f1: as scikit-learn computes them.
        recall: of each class, None where the class does not occur in the truth.
        confusion_matrix: counts, a row for each true and a column for each predicted class.
        labels: the classes, in the order of the confusion matrix.
        utterances: number of judged utterances.
    """

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    weighted_f1: float
    recall: Mapping[str, float | None]
    confusion_matrix: Sequence[Sequence[int]]
    labels: Sequence[str]
    utterances: int


def compute_metrics(truth: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> Metrics:
    """Compute metrics of predictions of one emotion per utterance.

    Args:
        truth: (utterances,) the true emotion of each.
        predicted: (utterances,) the predicted emotion of each.
        labels: all emotions of the model, in the order of the confusion matrix; includes those of `truth` and
            `predicted`.

    Raises:
        MMERError: there is nothing to judge, lengths differ, or an emotion is not in `labels`.

    Example:
        >>> figures = compute_metrics(["sad", "sad", "angry"], ["sad", "angry", "angry"], ["angry", "sad"])
        >>> figures.balanced_accuracy, figures.recall, figures.confusion_matrix
        (0.75, {'angry': 1.0, 'sad': 0.5}, [[1, 0], [1, 1]])
    """
    truth, predicted, labels = list(truth), list(predicted), list(labels)
    if not truth or len(truth) != len(predicted):
        raise MMERError(
            f"cannot judge {counted(len(predicted), 'prediction')} of {counted(len(truth), 'utterance')}"
        )
    if unknown := sorted({*truth, *predicted} - set(labels)):
        raise MMERError(f"cannot judge {', '.join(map(repr, unknown))}: the labels are {', '.join(labels)}")
    place = {label: number for number, label in enumerate(labels)}
    # Not scikit-learn's confusion_matrix, which warns of a single label.
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, ([place[label] for label in truth], [place[label] for label in predicted]), 1)
    right, present = counts.diagonal(), counts.sum(axis=1)
    recall = {
        label: float(hit / total) if total else None
        for label, hit, total in zip(labels, right, present, strict=True)
    }
    margins = np.stack([present, counts.sum(axis=0), right]).astype(float)
    return Metrics(
        **{name: float(figure_of(margins, name, labels)[0]) for name in FIGURES},
        recall=recall,
        confusion_matrix=counts.tolist(),
        labels=labels,
        utterances=len(truth),
    )
