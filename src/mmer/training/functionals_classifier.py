"""The linear classifier of functionals beside the network, fitted before the network trains.

Gradient steps of the network's size would fit so few weights to the training voices; a penalty on their size does not.
"""

import random
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from torch import nn

from mmer.corpora.corpus import Corpus
from mmer.features.statistics import FeatureStatistics
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.training.feature_store import FeatureStore, TrainingUtterance

STRENGTH = 0.03
"""`C` of the logistic regression: the inverse of its L2 penalty."""
MOST_UTTERANCES = 20_000
PARTS = 5
"""Parts of the training speakers that are left out in turn, to see how sure the classifier may be of new voices."""
SCALES = np.linspace(0, 3, 61)
"""Factors on its logits among which these speakers choose."""

Floats = NDArray[np.floating]


def fit_functionals_classifier(
    model: MMERForEmotionRecognition,
    store: FeatureStore,
    train: Corpus,
    statistics: dict[str, FeatureStatistics],
) -> None:
    """Fit the classifier of functionals to training utterances by logistic regression with an L2 penalty.

    Its logits are then scaled for voices that it was not fitted to. An emotion that no utterance with sound has keeps
    weights of zero and gets the lowest bias. Of a larger corpus, `MOST_UTTERANCES` are drawn.

    Args:
        model: changed in place; one without such a classifier stays as it is.
        store: features of the utterances.
        train: training utterances.
        statistics: of the speakers, for `normalization: speaker`.
    """
    classifier = model.functionals_classifier
    if classifier is None:
        return
    for weight in classifier.parameters():
        nn.init.zeros_(weight)
    utterances = TrainingUtterance.with_sound(train)
    if len(utterances) > MOST_UTTERANCES:
        utterances = random.Random(0).sample(utterances, MOST_UTTERANCES)
    if len({utterance.emotion for utterance in utterances}) < 2:
        return
    processor, count = store.processor, store.processor.functionals
    classes = np.array([processor.labels.index(utterance.emotion) for utterance in utterances])
    weights = model.config.class_weights
    clips = _Clips(
        functionals=np.stack(
            [
                processor.standardize(store(utterance), statistics.get(utterance.speaker or ""))[0, -count:]
                for utterance in utterances
            ]
        ),
        classes=classes,
        weights=np.ones(len(classes)) if weights is None else np.array(weights)[classes],
        speakers=np.array([utterance.speaker or "" for utterance in utterances]),
    )
    coefficients, intercepts = (clips.scale() * each for each in clips.fit())
    found = np.unique(classes)
    with torch.no_grad():
        classifier.bias.fill_(float(intercepts.min()) - float(np.log(len(utterances))))
        classifier.weight[found] = torch.from_numpy(coefficients).to(classifier.weight)
        classifier.bias[found] = torch.from_numpy(intercepts).to(classifier.bias)


@dataclass(frozen=True)
class _Clips:
    """What the classifier is fitted to.

    Attributes:
        functionals: (clips, functionals), standardized.
        classes: (clips,) numbers of the emotions.
        weights: (clips,).
        speakers: (clips,).
    """

    functionals: Floats
    classes: NDArray[np.int_]
    weights: Floats
    speakers: NDArray[np.str_]

    def fit(self) -> tuple[Floats, Floats]:
        """Fit a logistic regression.

        Returns:
            Weights, (classes, functionals), and biases, (classes,), of the classes that the clips have.
        """
        regression = LogisticRegression(C=STRENGTH, max_iter=1000)
        regression.fit(self.functionals, self.classes, self.weights)
        coefficients, intercepts = np.asarray(regression.coef_), np.asarray(regression.intercept_)
        if len(intercepts) == 1:  # one row, the log-odds of the second of two classes
            coefficients, intercepts = (
                np.stack([-each[0], each[0]]) / 2 for each in (coefficients, intercepts)
            )
        return coefficients, intercepts

    def scale(self) -> float:
        """Find the factor on the logits with which speakers that were left out of the fit are the most probable.

        What tells nothing of new voices is scaled down to nothing. The factor is 1 where nothing can be left out: of
        one speaker, or where every emotion is one speaker's alone.
        """
        found, parts = np.unique(self.classes), min(PARTS, len(np.unique(self.speakers)))
        logits, left_out = np.zeros((len(self.classes), len(found))), np.zeros(len(self.classes), bool)
        splits = GroupKFold(parts).split(self.functionals, groups=self.speakers) if parts > 1 else ()
        for kept, left in splits:
            if len(np.unique(self.classes[kept])) == len(found):
                coefficients, intercepts = self._only(kept).fit()
                logits[left] = self.functionals[left] @ coefficients.T + intercepts
                left_out[left] = True
        if not left_out.any():
            return 1.0

        rows, right = logits[left_out], np.searchsorted(found, self.classes[left_out])

        def loss(scale: float) -> float:
            surprise = -log_softmax(scale * rows, axis=1)[np.arange(len(rows)), right]
            return float(np.average(surprise, weights=self.weights[left_out]))

        return float(min(SCALES, key=loss))

    def _only(self, chosen: NDArray[np.int_]) -> "_Clips":
        return _Clips(
            self.functionals[chosen], self.classes[chosen], self.weights[chosen], self.speakers[chosen]
        )
