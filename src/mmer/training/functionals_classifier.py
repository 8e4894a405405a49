"""The linear classifier of functionals beside the network, fitted before the network trains.

Gradient steps of the network's size would fit so few weights to the training voices; a penalty on their size does not.
"""

import random

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from mmer.corpora.corpus import Corpus
from mmer.features.statistics import FeatureStatistics
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.training.feature_store import FeatureStore, TrainingUtterance

STRENGTH = 0.03
"""`C` of the logistic regression: the inverse of its L2 penalty."""
MOST_UTTERANCES = 20_000


def fit_functionals_classifier(
    model: MMERForEmotionRecognition,
    store: FeatureStore,
    train: Corpus,
    statistics: dict[str, FeatureStatistics],
) -> None:
    """Fit the classifier of functionals to training utterances by logistic regression with an L2 penalty.

    An emotion that no utterance with sound has keeps weights of zero and gets the lowest bias. Of a larger corpus,
    `MOST_UTTERANCES` are drawn.

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
    functionals = np.stack(
        [
            processor.standardize(store(utterance), statistics.get(utterance.speaker or ""))[0, -count:]
            for utterance in utterances
        ]
    )
    classes = np.array([processor.labels.index(utterance.emotion) for utterance in utterances])
    found = np.unique(classes)
    weights = model.config.class_weights
    regression = LogisticRegression(C=STRENGTH, max_iter=1000)
    regression.fit(functionals, classes, None if weights is None else np.array(weights)[classes])
    coefficients, intercepts = np.asarray(regression.coef_), np.asarray(regression.intercept_)
    if len(found) == 2:  # one row, the log-odds of the second class
        coefficients, intercepts = (np.stack([-each[0], each[0]]) / 2 for each in (coefficients, intercepts))
    with torch.no_grad():
        classifier.bias.fill_(float(intercepts.min()) - float(np.log(len(utterances))))
        classifier.weight[found] = torch.from_numpy(coefficients).to(classifier.weight)
        classifier.bias[found] = torch.from_numpy(intercepts).to(classifier.bias)
