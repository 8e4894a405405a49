"""Fitting what makes probabilities mean what they say, on speakers that training did not hear.

Temperature scaling and vector scaling follow Guo et al. (On calibration of modern neural networks, 2017), isotonic
regression of each emotion against the others with renormalized outputs Zadrozny and Elkan (2002). Which of them is
used is decided by log-loss on speakers left out of the fit, and doing nothing is one of the candidates: a
calibration that does not hold for other speakers is worth less than none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import GroupKFold, KFold

from mmer.corpora.corpus import Corpus
from mmer.display.picture import additional_picture
from mmer.errors import CheckpointError, CorpusError, Parameter
from mmer.evaluation.calibration.calibration_error import Integers, answer_bins, calibration_figures, log_loss
from mmer.evaluation.calibration.show import PICTURE, plot_calibration
from mmer.evaluation.seen import overlap
from mmer.files.lock import Parameters, Result, writes
from mmer.files.writing import check_output_folder
from mmer.inference.calibration import (
    CONDITIONS,
    FILE,
    SMALLEST,
    CalibratedCondition,
    Calibration,
    Calibrator,
    Floats,
    weights_hash,
)
from mmer.inference.inputs import corpus_utterances
from mmer.inference.prediction import Prediction
from mmer.inference.trained_on import TrainedOn

METHODS = ("none", "temperature", "vector", "isotonic")
"""Candidates, the simplest first."""

LABEL_KEEPING = ("none", "temperature")
"""Methods that never change which emotion is the most probable."""

FEWEST = 16
"""Utterances below which nothing is fitted."""

_FOLDS = 10
_TEMPERATURES = (0.05, 20.0)
_BIASES = (-10.0, 10.0)


@dataclass(frozen=True)
class UncalibratedAnswers:
    """Uncalibrated answers to fit on, all made from the same sides.

    Attributes:
        probabilities: (utterances, emotions).
        truth: (utterances,) place of the true emotion.
        speakers: (utterances,).
    """

    probabilities: Floats
    truth: Integers
    speakers: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.truth)


def _into_folders_only(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Refuse a bundle before its place is taken for a folder to write to."""

    @wraps(function)
    def checked(*args: Parameters.args, **named: Parameters.kwargs) -> Result:
        from mmer.inference.backends.bundle import is_bundle

        model: Any = args[0] if args else named["model_folder"]
        if is_bundle(model):
            raise CheckpointError(
                f"{model} is a bundle, which nothing is added to; calibrate the model folder that it was made of, "
                "or unzip it into one, and bundle that again"
            )
        return function(*args, **named)

    return checked


@_into_folders_only
@writes("calibrate", "model_folder")
def calibrate(
    model_folder: Path,
    corpus: Corpus,
    split: str | None = "validation",
    *,
    methods: Sequence[str] = METHODS,
    note: str | None = None,
    on_training: bool = False,
    batch_size: int = 16,
    device: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Calibration:
    """Fit the calibration of a model, and write it into its folder.

    Args:
        model_folder: as training writes it, no bundle; a calibration that it holds is replaced.
        corpus: utterances with emotions, of speakers that training did not hear.
        split: the part of the corpus to fit on; None for all of it.
        methods: candidates among `METHODS`.
        note: what to know of the speakers, for the file.
        on_training: fit on utterances that the model was trained on, too.
        batch_size, device, progress: see `EmotionRecognizer`.

    Raises:
        CheckpointError: the folder holds no model of PyTorch, or is a bundle.
        CorpusError: there is no such split, too few of its utterances can be answered, or the model was trained on
            some of them.
    """
    # Imported here, since torch comes along and takes seconds that reading a calibration need not.
    from mmer.inference.recognizer import EmotionRecognizer

    if not (model_folder / "model.safetensors").is_file():
        raise CheckpointError(
            f"{model_folder} is no model folder with model.safetensors; calibrate the folder that training wrote, then "
            "bundle or export it"
        )
    check_output_folder(model_folder)
    recognizer = EmotionRecognizer.from_pretrained(model_folder, device, calibrated=False)
    splits = corpus.table["split"]
    chosen = np.ones(len(corpus), bool) if split is None else (splits == split).to_numpy()
    if not chosen.any():
        found = ", ".join(sorted(set(splits.dropna()))) or "none"
        raise CorpusError(
            f"no utterance is in the split {split}; the splits of the corpus are: {found}; change ",
            Parameter("split"),
        )
    speakers = corpus.table["speaker"]
    answered = corpus.select(chosen)
    trained = TrainedOn.read(model_folder)
    seen = 0 if trained is None else overlap(trained.splits_of(answered))["train"]
    if seen and not on_training:
        raise CorpusError(
            f"{seen} of {len(answered)} utterances are among those that {model_folder} was trained on, of which it is "
            "surer than of others; calibrate on utterances that it has not met, or set on_training to take these"
        )
    predictions = recognizer.predict(
        corpus_utterances(answered),
        batch_size=batch_size,
        progress=progress,
        speakers=recognizer.speakers_among(answered, corpus),
    )
    fitted = fit(
        list(predictions),
        answered.table["emotion"].tolist(),
        answered.table["speaker"].tolist(),
        recognizer.labels,
        methods,
    )
    notes = [note] if note else []
    named = sorted(set(answered.table["speaker"].dropna()))
    if both := sorted(set(named) & set(speakers[splits == "train"].dropna())):
        notes.append(f"{len(both)} of the speakers are in the split train too, on which networks are surer")
    if seen:
        notes.append(f"{seen} of {len(answered)} utterances are among those that the model was trained on")
    if len(named) < 2:
        notes.append("fewer than two speakers: how it holds for others is not known")
    calibration = Calibration(
        weights=weights_hash(model_folder),
        labels=recognizer.labels,
        corpus=Path(corpus.source).name if corpus.source else "",
        split=split,
        speakers=named,
        conditions=fitted,
        note="; ".join(notes) or None,
    )
    calibration.write(model_folder / FILE)
    with additional_picture(PICTURE):
        plot_calibration(calibration, model_folder / PICTURE)
    return calibration


def fit(
    predictions: Sequence[Prediction],
    emotions: Sequence[str | None],
    speakers: Sequence[str | None],
    labels: Sequence[str],
    methods: Sequence[str] = METHODS,
) -> dict[str, CalibratedCondition]:
    """Fit a calibration for each condition that there are answers from.

    Args:
        predictions: uncalibrated.
        emotions, speakers: (utterances,) the truth, and who speaks.
        labels: emotions of the model; utterances with another do not count.
        methods: candidates among `METHODS`.

    Raises:
        CorpusError: fewer than 16 utterances to fit the main condition on.
    """
    fitted = {}
    for condition in CONDITIONS:
        answers = _answers(predictions, emotions, speakers, labels, condition)
        if len(answers) >= FEWEST:
            fitted[condition] = fit_condition(answers, labels, methods)
    if not fitted:
        failed = next((prediction.error for prediction in predictions if prediction.error), None)
        raise CorpusError(
            f"fewer than {FEWEST} of {len(predictions)} utterances can be calibrated on: they need an answer and an "
            f"emotion that the model knows ({', '.join(labels)})"
            + (f"; the first error: {failed}" if failed else "")
        )
    return fitted


def fit_condition(
    answers: UncalibratedAnswers, labels: Sequence[str], methods: Sequence[str] = METHODS
) -> CalibratedCondition:
    """Choose among the candidates by log-loss on speakers left out, and fit the chosen one on all.

    The simplest candidate is taken that is not worse than the best by more than one standard error over speakers
    (Breiman et al. 1984): of a few speakers, the best is often best by chance, and worse than nothing for others.
    Of one speaker's answers only those of `LABEL_KEEPING` are candidates: what else suits one speaker makes others
    worse.
    """
    people = len(set(answers.speakers))
    if people == 1:
        methods = [method for method in methods if method in LABEL_KEEPING]
    if people > 1:
        count = min(people, _FOLDS)
        folds = list(GroupKFold(count).split(answers.truth, groups=answers.speakers))
        told = f"{count} folds of {people} speakers"
    else:
        folds = list(KFold(5, shuffle=True, random_state=0).split(answers.truth))
        told = "5 folds of the utterances of one speaker"
    left_out = {method: np.empty_like(answers.probabilities) for method in methods}
    for train, test in folds:
        for method, made in left_out.items():
            fitted = fit_calibrator(method, answers.probabilities[train], answers.truth[train])
            made[test] = fitted(answers.probabilities[test])
    losses = {method: log_loss(made, answers.truth) for method, made in left_out.items()}
    chosen = _simplest(left_out, answers)
    rows = np.arange(len(answers))
    missed = 1 - left_out[chosen][rows, answers.truth]
    return CalibratedCondition(
        calibrator=fit_calibrator(chosen, answers.probabilities, answers.truth),
        utterances=len(answers),
        folds=told,
        candidates=losses,
        before=calibration_figures(answers.probabilities, answers.truth),
        after=calibration_figures(left_out[chosen], answers.truth),
        bins={
            "before": _rows(answers.probabilities, answers.truth),
            "after": _rows(left_out[chosen], answers.truth),
        },
        scores={
            label: [round(score, 6) for score in np.sort(missed[answers.truth == place]).tolist()]
            for place, label in enumerate(labels)
        },
    )


def _simplest(left_out: Mapping[str, Floats], answers: UncalibratedAnswers) -> str:
    """The first of `METHODS` that is within one standard error of the best; candidates as they are for speakers
    left out."""
    rows = np.arange(len(answers))
    losses = pd.DataFrame(
        {
            method: -np.log(np.maximum(made[rows, answers.truth], SMALLEST))
            for method, made in left_out.items()
        }
    )
    best = str(losses.mean().idxmin())
    for method in (name for name in METHODS if name in losses):
        behind = (losses[method] - losses[best]).groupby(answers.speakers).agg(["mean", "size"])
        mean = float(np.average(behind["mean"], weights=behind["size"]))
        people = len(behind)
        error = float(behind["mean"].std() / np.sqrt(people)) if people > 1 else 0.0
        if mean <= error:
            return method
    return best


def fit_calibrator(method: str, probabilities: Floats, truth: Integers) -> Calibrator:
    """Fit one of `METHODS`.

    Args:
        probabilities: (utterances, emotions) uncalibrated.
        truth: (utterances,) place of the true emotion.
    """
    if method == "none":
        return Calibrator()
    if method == "isotonic":
        return _isotonic(probabilities, truth)
    logs = np.log(np.maximum(probabilities, SMALLEST))
    if method == "temperature":
        span = np.log(_TEMPERATURES)
        # CalibratedClassifierCV of scikit-learn (1.8) fits a temperature to a classifier that it can call, not to
        # probabilities that were answered before.
        found = minimize_scalar(
            lambda log: _cross_entropy(logs / np.exp(log), truth)[0], bounds=tuple(span), method="bounded"
        )
        return Calibrator("temperature", {"temperature": float(np.exp(found.x))})
    emotions = logs.shape[1]

    def loss(values: Floats) -> tuple[float, Floats]:
        weight, bias = values[:emotions], values[emotions:]
        value, gradient = _cross_entropy(logs * weight + bias, truth)
        return value, np.concatenate([(gradient * logs).sum(axis=0), gradient.sum(axis=0)])

    start = np.concatenate([np.ones(emotions), np.zeros(emotions)])
    bounds = [(1 / _TEMPERATURES[1], 1 / _TEMPERATURES[0])] * emotions + [_BIASES] * emotions
    values = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    return Calibrator("vector", {"weight": values[:emotions].tolist(), "bias": values[emotions:].tolist()})


def _isotonic(probabilities: Floats, truth: Integers) -> Calibrator:
    xs, ys, rest = [], [], _rest(truth)
    for place, column in enumerate(probabilities.T):
        steps = IsotonicRegression(y_min=rest, y_max=1 - rest, out_of_bounds="clip")
        steps.fit(column, (truth == place).astype(float))
        xs.append(np.asarray(steps.X_thresholds_, float).tolist())
        ys.append(np.asarray(steps.y_thresholds_, float).tolist())
    return Calibrator("isotonic", {"x": xs, "y": ys})


def _rest(truth: Integers) -> float:
    """Probability that is left to each answer that was never right: that it never was is no proof that it cannot be."""
    return 1 / (len(truth) + 2)


def _cross_entropy(logits: Floats, truth: Integers) -> tuple[float, Floats]:
    """Mean cross-entropy of (utterances, emotions) logits against the truth less `_rest`, and its gradient."""
    count, emotions = logits.shape
    rest = _rest(truth)
    targets = np.full(logits.shape, rest / max(emotions - 1, 1))
    targets[np.arange(count), truth] = 1 - rest
    logs = logits - logsumexp(logits, axis=1, keepdims=True)
    return float(-(targets * logs).sum() / count), (np.exp(logs) - targets) / count


def _rows(probabilities: Floats, truth: Integers) -> list[dict[str, float]]:
    """The bins of `confidence_bins` as JSON holds them."""
    rows = answer_bins(probabilities, truth).to_dict("records")
    return [{str(name): round(float(value), 6) for name, value in row.items()} for row in rows]


def _answers(
    predictions: Iterable[Prediction],
    emotions: Iterable[str | None],
    speakers: Iterable[str | None],
    labels: Sequence[str],
    condition: str,
) -> UncalibratedAnswers:
    """The answers made from a condition, of those with an emotion that the model knows."""
    rows: list[list[float]] = []
    truth: list[int] = []
    people: list[Any] = []
    for prediction, emotion, speaker in zip(predictions, emotions, speakers, strict=True):
        found = prediction.probabilities if prediction.condition == condition else None
        if prediction.alone is not None and condition != "both":
            found = prediction.alone[condition]
        if found is not None and emotion in labels:
            rows.append([found[label] for label in labels])
            truth.append(labels.index(emotion))
            people.append(speaker if isinstance(speaker, str) else "")
    shape = (len(rows), len(labels))
    return UncalibratedAnswers(
        np.array(rows, float).reshape(shape), np.array(truth, np.intp), np.array(people, object)
    )
