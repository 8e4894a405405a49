"""The linear classifier of functionals beside the network, fitted before the network trains.

Gradient steps of the network's size would fit so few weights to the training voices; a penalty on their size does not.
A model that is trained further is fitted to the new utterances and to those that it learned from before. Without the
latter, the penalty is on the distance from the weights that it has, so that few clips of one voice do not replace what
many voices taught.
"""

import random
from dataclasses import dataclass, replace

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
STRENGTH_NEAR = 0.005
"""`C` where the penalty is on the distance from other weights."""
OLD_OF_NEW = 4.0
"""Weight of all utterances of before over that of all new ones; none of these weighs less than one of before."""
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
    before: Corpus | None = None,
    *,
    near: bool = False,
) -> None:
    """Fit the classifier of functionals to training utterances by logistic regression with an L2 penalty.

    Its logits are then scaled for voices that it was not fitted to. An emotion that no utterance with sound has keeps
    weights of zero and gets the lowest bias. Of a larger corpus, `MOST_UTTERANCES` are drawn.

    Args:
        model: changed in place; one without such a classifier stays as it is.
        store: features of the utterances.
        train: training utterances.
        statistics: of all speakers, for `normalization: speaker`.
        before: utterances that the model learned from before.
        near: whether the weights are to stay near those that the model has, if it has some for each of its emotions.
    """
    classifier = model.functionals_classifier
    if classifier is None:
        return
    start = None
    if near and bool(classifier.weight.any(dim=1).all()):
        start = torch.column_stack([classifier.weight, classifier.bias]).numpy()
    else:
        for weight in classifier.parameters():
            nn.init.zeros_(weight)
    clips = replace(_read(model, store, train, statistics), start=start)
    if before is not None:
        clips = clips.beside(_read(model, store, before, statistics))
    if len(np.unique(clips.classes)) < 2:
        return
    fitted = clips.scale() * clips.fit()
    with torch.no_grad():
        classifier.bias.fill_(float(fitted[:, -1].min()) - float(np.log(len(clips.classes))))
        classifier.weight[clips.fitted_classes] = torch.from_numpy(fitted[:, :-1]).to(classifier.weight)
        classifier.bias[clips.fitted_classes] = torch.from_numpy(fitted[:, -1]).to(classifier.bias)


@dataclass(frozen=True)
class _Clips:
    """What the classifier is fitted to.

    Attributes:
        functionals: (clips, functionals), standardized.
        classes: (clips,) numbers of the emotions.
        weights: (clips,).
        speakers: (clips,).
        start: (emotions, functionals + 1) weights and, last, biases to stay near; None for none.
    """

    functionals: Floats
    classes: NDArray[np.int_]
    weights: Floats
    speakers: NDArray[np.str_]
    start: Floats | None = None

    @property
    def fitted_classes(self) -> NDArray[np.int_]:
        """Classes that `fit` gives weights, in their order."""
        return np.unique(self.classes) if self.start is None else np.arange(len(self.start))

    def beside(self, before: "_Clips") -> "_Clips":
        """Join clips with those of before, whose weight is `OLD_OF_NEW` times that of the new ones at most."""
        if not len(self.classes):
            return before
        larger = max(1.0, before.weights.sum() / (OLD_OF_NEW * self.weights.sum()))
        return _Clips(
            np.concatenate([self.functionals, before.functionals]),
            np.concatenate([self.classes, before.classes]),
            np.concatenate([larger * self.weights, before.weights]),
            np.concatenate([self.speakers, before.speakers]),
        )

    def fit(self) -> Floats:
        """Fit a logistic regression.

        Returns:
            Weights and, last, biases of `fitted_classes`, (classes, functionals + 1).
        """
        if self.start is not None:
            return self._fit_near(self.start)
        regression = LogisticRegression(C=STRENGTH, max_iter=1000)
        regression.fit(self.functionals, self.classes, self.weights)
        found = np.column_stack([regression.coef_, regression.intercept_])
        # one row is the log-odds of the second of two classes
        return np.concatenate([-found, found]) / 2 if len(found) == 1 else found

    def _fit_near(self, start: Floats) -> Floats:
        """Fit with a penalty on the distance from weights and biases; scikit-learn's is on the size of weights."""
        first, classes, weights = map(torch.from_numpy, (start.astype(float), self.classes, self.weights))
        inputs = torch.from_numpy(_with_ones(self.functionals.astype(float)))
        fitted = first.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([fitted], max_iter=1000, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            surprise = nn.functional.cross_entropy(inputs @ fitted.T, classes, reduction="none")
            penalized = STRENGTH_NEAR * (weights * surprise).sum() + (fitted - first).square().sum() / 2
            penalized.backward()
            return penalized

        optimizer.step(loss)
        return fitted.detach().numpy()

    def scale(self) -> float:
        """Find the factor on the logits with which speakers that were left out of the fit are the most probable.

        What tells nothing of new voices is scaled down to nothing. The factor is 1 where nothing can be left out: of
        one speaker, or where every emotion is one speaker's alone.
        """
        parts = min(PARTS, len(np.unique(self.speakers)))
        logits = np.zeros((len(self.classes), len(self.fitted_classes)))
        left_out = np.zeros(len(self.classes), bool)
        splits = GroupKFold(parts).split(self.functionals, groups=self.speakers) if parts > 1 else ()
        for kept, left in splits:
            rest = self._only(kept)
            if len(rest.fitted_classes) == len(self.fitted_classes):
                logits[left] = _with_ones(self.functionals[left]) @ rest.fit().T
                left_out[left] = True
        if not left_out.any():
            return 1.0

        rows, right = logits[left_out], np.searchsorted(self.fitted_classes, self.classes[left_out])

        def loss(scale: float) -> float:
            surprise = -log_softmax(scale * rows, axis=1)[np.arange(len(rows)), right]
            return float(np.average(surprise, weights=self.weights[left_out]))

        return float(min(SCALES, key=loss))

    def _only(self, chosen: NDArray[np.int_]) -> "_Clips":
        return _Clips(
            self.functionals[chosen],
            self.classes[chosen],
            self.weights[chosen],
            self.speakers[chosen],
            self.start,
        )


def _read(
    model: MMERForEmotionRecognition,
    store: FeatureStore,
    corpus: Corpus,
    statistics: dict[str, FeatureStatistics],
) -> _Clips:
    """Read the functionals of the utterances with sound."""
    utterances = TrainingUtterance.with_sound(corpus)
    if len(utterances) > MOST_UTTERANCES:
        utterances = random.Random(0).sample(utterances, MOST_UTTERANCES)
    processor, count = store.processor, store.processor.functionals
    classes = np.array([processor.labels.index(utterance.emotion) for utterance in utterances], int)
    of_classes = model.config.class_weights
    return _Clips(
        functionals=np.array(
            [
                processor.standardize(store(utterance), statistics.get(utterance.speaker or ""))[0, -count:]
                for utterance in utterances
            ]
        ).reshape(-1, count),
        classes=classes,
        weights=np.ones(len(classes)) if of_classes is None else np.array(of_classes)[classes],
        speakers=np.array([utterance.speaker or "" for utterance in utterances], str),
    )


def _with_ones(functionals: Floats) -> Floats:
    """Append a column of ones, whose weight is the bias."""
    return np.pad(functionals, ((0, 0), (0, 1)), constant_values=1)
