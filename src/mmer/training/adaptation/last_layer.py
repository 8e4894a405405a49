"""The last layer of a published model as a logistic regression, fitted near the weights that it has.

Utterances that are left out of the fit decide how strong the penalty on the distance is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from torch import nn

from mmer.corpora.corpus import Corpus
from mmer.evaluation.reference_systems import STRENGTHS, grouped_folds
from mmer.training.adaptation.adapt import FEWEST_SPEAKERS
from mmer.training.linear.logistic_regression import fit_near

PARTS = 5
"""Parts of the utterances that are left out in turn."""
AS_PUBLISHED = 0.0
"""Strength with which the layer stays as it is."""

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class LastLayer:
    """A logistic regression near the last layer of a network.

    Attributes:
        start: (labels, size + 1), weights and, last, biases of the published layer; zeros for new labels.
        inputs: (utterances, size) what the layer reads.
        classes: (utterances,) numbers of the right labels.
        group: column of the utterances that are left out together.
        groups: (utterances,) its values.
        has_bias: whether the layer has one.
    """

    start: Floats
    inputs: Floats
    classes: NDArray[np.int_]
    group: str
    groups: NDArray[np.str_]
    has_bias: bool

    @classmethod
    def of(
        cls, output: nn.Linear, known: Sequence[str], labels: Sequence[str], inputs: Floats, usable: Corpus
    ) -> "LastLayer":
        """Start from a layer whose outputs have the names `known`."""
        start = np.zeros((len(labels), inputs.shape[1] + 1))
        rows = [row for row, label in enumerate(labels) if label in known]
        places = [known.index(labels[row]) for row in rows]
        with torch.no_grad():
            start[rows, :-1] = output.weight[places].cpu().numpy()
            if output.bias is not None:
                start[rows, -1] = output.bias[places].cpu().numpy()
        table = usable.table
        speakers = table["speaker"]
        group = (
            "speaker" if speakers.notna().all() and speakers.nunique() >= FEWEST_SPEAKERS else "utterance_id"
        )
        return cls(
            start=start,
            inputs=inputs,
            classes=np.array([labels.index(emotion) for emotion in table["emotion"]]),
            group=group,
            groups=table[group].to_numpy(str),
            has_bias=output.bias is not None,
        )

    def fit(self, rows: NDArray[np.int_], strength: float) -> Floats:
        """Fit the layer to some utterances; returns (labels, size + 1)."""
        if strength == AS_PUBLISHED:
            return self.start
        inputs = self.inputs[rows]
        mean = inputs.mean(axis=0) if self.has_bias else np.zeros(inputs.shape[1])
        scale = inputs.std(axis=0)
        scale[scale == 0] = 1.0
        ones = np.full((len(rows), 1), float(self.has_bias))
        weights, biases = self.start[:, :-1], self.start[:, -1]
        start = np.column_stack([weights * scale, biases + weights @ mean])
        fitted = fit_near(
            start, np.column_stack([(inputs - mean) / scale, ones]), self.classes[rows], strength
        )
        weights = fitted[:, :-1] / scale
        return np.column_stack([weights, fitted[:, -1] - weights @ mean])

    def logits(self, weights: Floats, rows: NDArray[np.int_]) -> Floats:
        """Compute (utterances, labels)."""
        return self.inputs[rows] @ weights[:, :-1].T + weights[:, -1]

    def choose(self, rows: NDArray[np.int_]) -> float:
        """Choose the strength with which utterances that are left out of the fit are the most probable."""
        # A new label has no weights to stay at.
        strengths = (AS_PUBLISHED, *STRENGTHS) if self.start.any(axis=1).all() else STRENGTHS
        losses = [
            [self._loss(rows[kept], rows[left], strength) for strength in strengths]
            for kept, left in grouped_folds(self.classes[rows], self.groups[rows])
        ]
        return strengths[int(np.mean(losses, axis=0).argmin())] if losses else strengths[0]

    def _loss(self, kept: NDArray[np.int_], left: NDArray[np.int_], strength: float) -> float:
        logits = self.logits(self.fit(kept, strength), left)
        return float(-log_softmax(logits, axis=1)[np.arange(len(left)), self.classes[left]].mean())

    def held_out(self, progress: Callable[[int], None]) -> Floats:
        """Compute logits of each utterance by a layer that was neither fitted nor chosen with its group.

        Returns:
            (utterances, labels); NaN where only one label is left without the group.
        """
        logits = np.full((len(self.inputs), len(self.start)), np.nan)
        for done, (kept, left) in enumerate(grouped_folds(self.classes, self.groups, PARTS), start=1):
            logits[left] = self.logits(self.fit(kept, self.choose(kept)), left)
            progress(done)
        return logits

    def unlearned(self, parts: int) -> list[int]:
        """List the numbers of labels that are missing where a group that has them is left out, of so many parts."""
        folds = grouped_folds(self.classes, self.groups, parts)
        return sorted(
            {
                int(each)
                for kept, left in folds
                for each in np.setdiff1d(self.classes[left], self.classes[kept])
            }
        )


def linear_layer(output: nn.Linear, weights: Floats) -> nn.Linear:
    """Make the layer of (labels, size + 1) weights and biases."""
    layer = nn.Linear(weights.shape[1] - 1, len(weights), bias=output.bias is not None)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights[:, :-1]))
        if output.bias is not None:
            layer.bias.copy_(torch.from_numpy(weights[:, -1]))
    return layer
