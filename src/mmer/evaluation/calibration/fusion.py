"""Fitting of late fusion: the weight of speech and text, and a temperature of each, on labeled utterances."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from sklearn.model_selection import GroupKFold, KFold

from mmer.corpora.corpus import Corpus
from mmer.errors import CorpusError
from mmer.evaluation.calibration.calibration_error import Integers, log_loss
from mmer.evaluation.calibration.fit import FEWEST, FOLDS, fit_calibrator, smallest
from mmer.inference.backends.composition import Composition, FusionFit
from mmer.inference.prediction import Prediction
from mmer.inference.trust.calibration import SMALLEST, Calibrator, Floats
from mmer.plain_text import counted, name_of

Fusion = tuple[Calibrator, Calibrator, float]
"""Temperatures of speech and of text, and the weight of speech."""


def fit_fusion(
    composition: Composition, predictions: Sequence[Prediction], corpus: Corpus, split: str | None
) -> tuple[Composition, list[Prediction]]:
    """Fit weight and temperatures, and apply them.

    Each temperature minimizes the log-loss of its model alone; the weight then minimizes that of both.

    Args:
        composition: two models with equal weights and temperatures of 1.
        predictions: of that composition, one for each utterance of the corpus.
        corpus: with true emotions and speakers.
        split: that it is of; None for all.

    Returns:
        The composition as fitted, and the predictions as it would have answered.

    Raises:
        CorpusError: fewer than 16 utterances have speech, a transcript and an emotion that both models know.
    """
    labels = composition.labels
    emotions = corpus.table["emotion"].tolist()
    usable = [
        place
        for place, prediction in enumerate(predictions)
        if prediction.alone is not None and emotions[place] in labels
    ]
    if len(usable) < FEWEST:
        failed = next((prediction.error for prediction in predictions if prediction.error), None)
        raise CorpusError(
            f"{counted(len(usable), 'utterance', of=len(predictions))} can be fitted on, and {FEWEST} are "
            "needed: with a "
            f"recording, a transcript and an emotion that both models know ({', '.join(labels)})"
            + (f"; the first error: {failed}" if failed else "")
        )
    speech, text = (
        np.array([[(predictions[place].alone or {})[side][label] for label in labels] for place in usable])
        for side in ("speech", "text")
    )
    truth = np.array([labels.index(emotions[place]) for place in usable])
    people = corpus.table["speaker"].iloc[usable].fillna("").to_numpy(object)
    number = len(set(people))
    folds = GroupKFold(min(number, FOLDS)) if number > 1 else KFold(5, shuffle=True, random_state=0)
    left_out = np.empty_like(speech)
    for train, test in folds.split(truth, groups=people):
        left_out[test] = _fused(_fit(speech[train], text[train], truth[train]), speech[test], text[test])
    fitted = _fit(speech, text, truth)
    fit = FusionFit(
        corpus=name_of(corpus.source),
        split=split,
        speakers=sorted(set(people) - {""}),
        utterances=len(usable),
        log_loss={
            "speech": log_loss(speech, truth),
            "text": log_loss(text, truth),
            "equal": log_loss((speech + text) / 2, truth),
            "fitted": log_loss(left_out, truth),
        },
    )
    weights = (fitted[2], 1 - fitted[2])
    models = [
        replace(member, temperature=calibrator.parameters["temperature"], weight=weight)
        for member, calibrator, weight in zip(composition.models, fitted[:2], weights, strict=True)
    ]
    return replace(composition, models=models, fit=fit), [_applied(each, fitted) for each in predictions]


def _fit(speech: Floats, text: Floats, truth: Integers) -> Fusion:
    of_speech, of_text = (fit_calibrator("temperature", each, truth) for each in (speech, text))
    rows = np.arange(len(truth))
    right = [calibrator(each)[rows, truth] for calibrator, each in ((of_speech, speech), (of_text, text))]

    def loss(weight: float) -> float:
        return -float(np.log(np.maximum(weight * right[0] + (1 - weight) * right[1], SMALLEST)).mean())

    return of_speech, of_text, smallest(loss, 0.0, 1.0)


def _fused(fusion: Fusion, speech: Floats, text: Floats) -> Floats:
    of_speech, of_text, weight = fusion
    return weight * of_speech(speech) + (1 - weight) * of_text(text)


def _applied(prediction: Prediction, fusion: Fusion) -> Prediction:
    """Return a prediction of equal weights as the fitted fusion makes it."""
    if prediction.probabilities is None:
        return prediction
    labels = list(prediction.probabilities)

    def named(row: Floats) -> dict[str, float]:
        return dict(zip(labels, row[0].tolist(), strict=True))

    if prediction.alone is None:
        calibrator = fusion[0] if prediction.condition == "speech" else fusion[1]
        return replace(
            prediction, probabilities=named(calibrator(np.array([list(prediction.probabilities.values())])))
        )
    speech, text = (np.array([list(prediction.alone[side].values())]) for side in ("speech", "text"))
    return replace(
        prediction,
        probabilities=named(_fused(fusion, speech, text)),
        alone={"speech": named(fusion[0](speech)), "text": named(fusion[1](text))},
    )
