"""The linear classifiers of functionals and of words beside the network, fitted before the network trains.

Gradient steps of the network's size would fit so few weights to the training voices; a penalty on their size does not.
A model that is trained further is fitted to the new utterances and to those that it learned from before. Without the
latter, the penalty is on the distance from the weights that it has, so that few clips of one voice do not replace what
many voices taught.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from torch import nn

from mmer.corpora.corpus import Corpus
from mmer.features.statistics import FeatureStatistics
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.model.processor import MMERProcessor
from mmer.training.data.feature_store import Features, FeatureStore
from mmer.training.linear.logistic_regression import fit_near
from mmer.training.linear.other_speakers import drawn_with_sound

STRENGTH = 0.03
"""`C` of the logistic regression of functionals: the inverse of its L2 penalty."""
STRENGTH_OF_WORDS = 0.1
"""`C` of that of words."""
NEAR = 1 / 6
"""Factor on `C` where the penalty is on the distance from other weights."""
OLD_OF_NEW = 4.0
"""Weight of all utterances of before over that of all new ones; none of these weighs less than one of before."""
PARTS = 5
"""Parts of the training speakers that are left out in turn, to see how sure the classifiers may be of new voices."""
SCALES = np.linspace(0, 3, 61)
"""Factors on the logits of each classifier among which these speakers choose."""

Floats = NDArray[np.floating]


def fit_linear_classifiers(
    model: MMERForEmotionRecognition,
    store: FeatureStore,
    train: Corpus,
    statistics: dict[str, FeatureStatistics],
    before: Corpus | None = None,
    *,
    near: bool = False,
    versions: Mapping[str, Features] | None = None,
) -> None:
    """Fit the classifiers of functionals and of words by logistic regression with an L2 penalty.

    Their logits are then scaled for voices that they were not fitted to, and so that their sum suits these. An emotion
    that no utterance with sound has keeps weights of zero and gets the lowest bias. They are fitted to the utterances
    that `drawn_with_sound` gives.

    Args:
        model: changed in place; one without such classifiers stays as it is.
        store: features of the utterances.
        train: training utterances.
        statistics: of all speakers, for `normalization: speaker`.
        before: utterances that the model learned from before.
        near: whether the weights are to stay near those that the model has, if it has some for each of its emotions.
        versions: result of `functionals_of_more_speakers` for `train`, to which the functionals are fitted instead.
    """
    classifier, of_words = model.functionals_classifier, model.words_classifier
    if classifier is None:
        return
    starts: list[Floats | None] = [None, None]
    if near and bool(classifier.weight.any(dim=1).all()):
        starts[0] = torch.column_stack([classifier.weight, classifier.bias]).numpy()
        if of_words is not None:
            starts[1] = np.pad(of_words.weight.numpy(), ((0, 0), (0, 1)))
    else:
        for weight in (*classifier.parameters(), *(of_words.parameters() if of_words is not None else ())):
            nn.init.zeros_(weight)
    clips = _read(model, store, train, statistics, versions)
    sides = [replace(side, start=start) for side, start in zip(clips.sides, starts, strict=False)]
    clips = replace(clips, sides=sides)
    if before is not None:
        clips = clips.beside(_read(model, store, before, statistics))
    if len(np.unique(clips.classes)) < 2:
        return
    fitted = [scale * weights for scale, weights in zip(clips.scales(), clips.fit(), strict=True)]
    with torch.no_grad():
        bias = fitted[0][:, -1]
        classifier.bias.fill_(float(bias.min()) - float(np.log(len(clips.classes))))
        classifier.bias[clips.fitted_classes] = torch.from_numpy(bias).to(classifier.bias)
        for linear, weights in zip((classifier, of_words), fitted, strict=False):
            assert linear is not None
            linear.weight[clips.fitted_classes] = torch.from_numpy(weights[:, :-1]).to(linear.weight)


@dataclass(frozen=True)
class _Side:
    """What one of the classifiers is fitted to.

    Attributes:
        inputs: (clips, functionals), standardized, or (clips, tokens), how often each occurs.
        strength: `C` of its logistic regression.
        has_bias: whether its bias is part of the answer.
        versions: (versions, clips, functionals), to which it is fitted in place of `inputs`; None for none.
        start: (emotions, inputs + 1) weights and, last, biases to stay near; None for none.
    """

    inputs: Floats | csr_array
    strength: float
    has_bias: bool
    versions: Floats | None = None
    start: Floats | None = None

    def beside(self, other: "_Side") -> "_Side":
        pair: Any = (self.inputs, other.inputs)
        joined = vstack(pair, "csr") if isinstance(self.inputs, csr_array) else np.concatenate(pair)
        return replace(other, inputs=joined)

    def only(self, chosen: NDArray[np.int_]) -> "_Side":
        versions = None if self.versions is None else self.versions[:, chosen]
        return replace(self, inputs=self.inputs[chosen], versions=versions)

    def logits(self, fitted: Floats) -> Floats:
        """Compute (clips, classes) from what `fit` returned."""
        return self.inputs @ fitted[:, :-1].T + self.has_bias * fitted[:, -1]

    def fit(self, classes: NDArray[np.int_], weights: Floats) -> Floats:
        """Fit a logistic regression; returns (classes, inputs + 1), weights and, last, biases of each class."""
        if self.start is not None:
            dense = self.inputs.toarray() if isinstance(self.inputs, csr_array) else self.inputs
            padded = np.pad(dense, ((0, 0), (0, 1)), constant_values=1)
            return fit_near(self.start, padded, classes, NEAR * self.strength, weights)
        inputs = self.inputs
        if self.versions is not None:
            times = len(self.versions)
            inputs = np.concatenate(self.versions)
            classes, weights = np.tile(classes, times), np.tile(weights / times, times)
        regression = LogisticRegression(C=self.strength, max_iter=1000)
        regression.fit(inputs, classes, weights)
        found = np.column_stack([regression.coef_, regression.intercept_])
        # one row is the log-odds of the second of two classes
        return np.concatenate([-found, found]) / 2 if len(found) == 1 else found


@dataclass(frozen=True)
class _Clips:
    """The utterances that the classifiers are fitted to.

    Attributes:
        sides: functionals and, where the model has that classifier, words.
        classes: (clips,) numbers of the emotions.
        weights: (clips,).
        speakers: (clips,).
    """

    sides: Sequence[_Side]
    classes: NDArray[np.int_]
    weights: Floats
    speakers: NDArray[np.str_]

    @property
    def fitted_classes(self) -> NDArray[np.int_]:
        """Classes that `fit` gives weights, in their order."""
        start = self.sides[0].start
        return np.unique(self.classes) if start is None else np.arange(len(start))

    def beside(self, before: "_Clips") -> "_Clips":
        """Join clips with those of before, whose weight is `OLD_OF_NEW` times that of the new ones at most."""
        if not len(self.classes):
            return before
        larger = max(1.0, before.weights.sum() / (OLD_OF_NEW * self.weights.sum()))
        return _Clips(
            [new.beside(old) for new, old in zip(self.sides, before.sides, strict=True)],
            np.concatenate([self.classes, before.classes]),
            np.concatenate([larger * self.weights, before.weights]),
            np.concatenate([self.speakers, before.speakers]),
        )

    def fit(self) -> list[Floats]:
        """Fit each classifier; returns (fitted classes, inputs + 1) weights and, last, biases of each."""
        return [side.fit(self.classes, self.weights) for side in self.sides]

    def scales(self) -> list[float]:
        """Find the factors on the logits with which speakers that were left out of the fit are the most probable.

        What tells nothing of new voices is scaled down to nothing. The factors are 1 where nothing can be left out: of
        one speaker, or where every emotion is one speaker's alone.
        """
        parts = min(PARTS, len(np.unique(self.speakers)))
        logits = np.zeros((len(self.sides), len(self.classes), len(self.fitted_classes)))
        left_out = np.zeros(len(self.classes), bool)
        splits = GroupKFold(parts).split(self.classes, groups=self.speakers) if parts > 1 else ()
        for kept, left in splits:
            rest, held_out = self._only(kept), self._only(left)
            if len(rest.fitted_classes) == len(self.fitted_classes):
                logits[:, left] = [
                    side.logits(fitted) for side, fitted in zip(held_out.sides, rest.fit(), strict=True)
                ]
                left_out[left] = True
        scales = np.ones(len(self.sides))
        if not left_out.any():
            return scales.tolist()

        rows, right = logits[:, left_out], np.searchsorted(self.fitted_classes, self.classes[left_out])

        def loss(scale: float, side: int) -> float:
            each = np.where(np.arange(len(scales)) == side, scale, scales)
            surprise = -log_softmax(np.tensordot(each, rows, 1), axis=1)[np.arange(len(right)), right]
            return float(np.average(surprise, weights=self.weights[left_out]))

        before = None
        while (
            before is None or (scales != before).any()
        ):  # the loss is convex: one after the other finds its minimum
            before = scales.copy()
            for side in range(len(scales)):
                scales[side] = min(SCALES, key=lambda scale, side=side: loss(scale, side))
        return scales.tolist()

    def _only(self, chosen: NDArray[np.int_]) -> "_Clips":
        return _Clips(
            [side.only(chosen) for side in self.sides],
            self.classes[chosen],
            self.weights[chosen],
            self.speakers[chosen],
        )


def _read(
    model: MMERForEmotionRecognition,
    store: FeatureStore,
    corpus: Corpus,
    statistics: dict[str, FeatureStatistics],
    versions: Mapping[str, Features] | None = None,
) -> _Clips:
    """Read the functionals and the words of the utterances with sound."""
    utterances = drawn_with_sound(corpus)
    processor, count = store.processor, store.processor.functionals
    classes = np.array([processor.labels.index(utterance.emotion) for utterance in utterances], int)
    of_classes = model.config.class_weights
    functionals = np.array(
        [
            processor.standardize(store(utterance), statistics.get(utterance.speaker or ""))[0, -count:]
            for utterance in utterances
        ]
    ).reshape(-1, count)
    fitted_to = np.stack([versions[each.utterance_id] for each in utterances], axis=1) if versions else None
    sides = [_Side(functionals, STRENGTH, has_bias=True, versions=fitted_to)]
    if model.words_classifier is not None:
        said = [utterance.transcript or utterance.recognized for utterance in utterances]
        words = _words(processor, said, model.words_classifier.in_features)
        sides.append(_Side(words, STRENGTH_OF_WORDS, has_bias=False))
    return _Clips(
        sides,
        classes,
        weights=np.ones(len(classes)) if of_classes is None else np.array(of_classes)[classes],
        speakers=np.array([utterance.speaker or "" for utterance in utterances], str),
    )


def _words(processor: MMERProcessor, transcripts: Sequence[str | None], size: int) -> csr_array:
    """Count the tokens of transcripts, (transcripts, size)."""
    special = processor.tokenizer.all_special_ids
    rows, columns = [], []
    for row, transcript in enumerate(transcripts):
        tokens = processor.tokenize([transcript], "np")
        said = tokens["input_ids"][tokens["text_attention_mask"] == 1]
        columns.append(said[~np.isin(said, special)])
        rows.append(np.full(len(columns[-1]), row))
    if not rows:
        return csr_array((0, size))
    places = np.concatenate(rows), np.concatenate(columns)
    return csr_array((np.ones(len(places[0])), places), (len(transcripts), size))
