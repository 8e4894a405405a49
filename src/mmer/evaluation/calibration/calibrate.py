"""Fitting of probability calibration on speakers outside the training data.

Log-loss on speakers left out of the fit selects one of `mmer.evaluation.calibration.fit`. Leaving probabilities as
they are is one of the candidates, because a calibration that fails on other speakers is worse than none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold

from mmer.corpora.content import corpus_fingerprint
from mmer.corpora.corpus import Corpus, Progress
from mmer.display.picture import additional_picture
from mmer.errors import CheckpointError, CorpusError, Parameter
from mmer.evaluation.calibration.calibration_error import Integers, answer_bins, calibration_figures, log_loss
from mmer.evaluation.calibration.fit import FEWEST, FOLDS, LABEL_KEEPING, METHODS, fit_calibrator
from mmer.evaluation.calibration.fusion import fit_fusion
from mmer.evaluation.calibration.plots import PICTURE, plot_calibration
from mmer.evaluation.kept_answers import answer_all, answer_journal
from mmer.evaluation.training_overlap import overlap
from mmer.files.lock import only_writer
from mmer.files.own_folder import check_own_folder
from mmer.files.writing import check_output_folder
from mmer.inference.backends.composition import FILE as MODELS
from mmer.inference.backends.model_folder import model_hash
from mmer.inference.inputs import corpus_utterances
from mmer.inference.kept_sound import KeptSound
from mmer.inference.prediction import Prediction
from mmer.inference.trust.calibration import (
    CONDITIONS,
    FILE,
    SMALLEST,
    CalibratedCondition,
    Calibration,
    Floats,
    weights_file,
    weights_hash,
)
from mmer.inference.trust.trained_on import TrainedOn
from mmer.plain_text import counted, name_of

_PART = ".calibration.part.jsonl"
"""The answers until all are there; a hidden file is no part of a model."""


@dataclass(frozen=True)
class UncalibratedAnswers:
    """Uncalibrated answers to fit on, all from the same modalities.

    Attributes:
        probabilities: (utterances, emotions).
        truth: (utterances,) index of the true emotion.
        speakers: (utterances,) names; empty where there is none.
    """

    probabilities: Floats
    truth: Integers
    speakers: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.truth)


def calibrate(
    model_folder: str | Path,
    corpus: Corpus,
    split: str | None = "validation",
    *,
    out: Path | None = None,
    label_map: str | Path | None = None,
    methods: Sequence[str] = METHODS,
    note: str | None = None,
    on_training: bool = False,
    batch_size: int = 16,
    device: str | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Fit the calibration of a model and write it into a folder.

    The same call after an interruption goes on from the answers that were there.

    For SPEECH+TEXT, the weight and the temperature of each model are fitted first, by `fit_fusion`.

    Args:
        model_folder: a model; see `mmer.model_folder`.
        corpus: labeled utterances of speakers outside the training data.
        split: the split to fit on; None for the whole corpus.
        out: the folder to write, which is then a model: it names `model_folder` and holds the calibration. Default:
            `model_folder`, whose calibration, if any, is replaced.
        label_map: what the model's labels are called; see `mmer.model_folder`.
        methods: candidates among `METHODS`.
        note: a remark on the speakers, stored in the file.
        on_training: also fit on utterances that the model was trained on.
        batch_size, device: see `EmotionRecognizer`.
        progress: called with the number of utterances done so far and of all.

    Raises:
        CheckpointError: the folder holds no PyTorch model; or the model is not a folder that can be written to, and
            `out` is not given.
        CorpusError: there is no such split, the model answers too few of its utterances, or was trained on some of
            them.
        MMERError: the model answers no emotions, or `out` holds something else.
        KeyboardInterrupt: as for `answer_all`.
    """
    # Imported here: torch takes seconds to import, and reading a calibration does not need it.
    from mmer.inference.backends.models import EQUAL, compose, names_of, trained_folders
    from mmer.inference.backends.models import model_folder as find_model_folder
    from mmer.inference.recognizer import EmotionRecognizer

    composition, notes = None, [note] if note else []
    if out is None:
        target = folder = Path(model_folder)
        if not target.is_dir():
            _check_own_folder(model_folder, label_map)
    else:
        check_own_folder(out, "a calibrated model", MODELS)
        composition, told = compose(names_of(model_folder), label_map)
        notes += [line for line in told if line != EQUAL]
        target, folder = out, find_model_folder(model_folder, label_map=label_map, note=lambda line: None)
    check_output_folder(target)
    with only_writer(target.resolve(), "calibrate"):
        if out is None:
            _check_own_folder(model_folder, label_map)
        recognizer = EmotionRecognizer.from_pretrained(folder, device, calibrated=False)
        recognizer.check_answers_emotions()
        answered = corpus.select(corpus.in_split(split))
        trained = TrainedOn.read(*trained_folders(folder))
        seen = 0 if trained is None else overlap(trained.splits_of(answered))["train"]
        if seen and not on_training:
            raise CorpusError(
                f"{_in_training(seen, len(answered))} of {model_folder}, on which the model is overconfident; "
                "calibrate on other utterances, or use these with ",
                Parameter("on_training", True),
            )
        heard = corpus if recognizer.processor.per_speaker else answered
        journal = answer_journal(
            target / _PART, model=model_hash(folder), corpus=corpus_fingerprint(heard), split=split
        )
        with KeptSound() as kept:
            rows = answer_all(
                recognizer,
                corpus_utterances(answered),
                Prediction.to_dict,
                journal=journal,
                progress=None if progress is None else lambda done: progress(done, len(answered)),
                batch_size=batch_size,
                speakers=recognizer.speakers_among(answered, corpus, kept),
                kept=kept,
            )
        answers = [Prediction(**row) for row in rows]
        journal.path.unlink()
        if composition is not None and len(composition.models) == 2:
            composition, answers = fit_fusion(composition, answers, answered, split)
            methods = ("none",)
            notes.append("weight and temperatures of speech and text were fitted on the same utterances")
        fitted = fit(
            answers,
            answered.table["emotion"].tolist(),
            answered.table["speaker"].tolist(),
            recognizer.labels,
            methods,
        )
        notes += _left_out(answers, answered.table["emotion"], recognizer.labels)
        named = sorted(set(answered.table["speaker"].dropna()))
        notes += _caveats(named, corpus, seen, len(answered))
        if composition is not None:
            composition.write(target / MODELS)
        calibration = Calibration(
            weights=weights_hash(target),
            labels=recognizer.labels,
            corpus=name_of(corpus.source),
            split=split,
            speakers=named,
            conditions=fitted,
            note="; ".join(notes) or None,
        )
        calibration.write(target / FILE)
        with additional_picture(PICTURE):
            plot_calibration(calibration, target / PICTURE)
        return calibration


def _left_out(predictions: Sequence[Prediction], emotions: pd.Series, labels: Sequence[str]) -> list[str]:
    """Count the utterances that nothing is fitted on, and say why."""
    counts = {
        "without an emotion": int(emotions.isna().sum()),
        "with an emotion that the model does not know": int(
            (emotions.notna() & ~emotions.isin(labels)).sum()
        ),
        "that could not be answered": sum(prediction.error is not None for prediction in predictions),
    }
    return [f"left out: {counted(count, 'utterance')} {reason}" for reason, count in counts.items() if count]


def _caveats(speakers: Sequence[str], corpus: Corpus, seen: int, answered: int) -> list[str]:
    """Say why the calibration may not hold for other speakers.

    Args:
        speakers: those fitted on.
        corpus: with its training split, if it has one.
        seen, answered: how many utterances of the training data are among those fitted on, and how many these are.
    """
    notes = []
    of_training = corpus.table["speaker"][corpus.table["split"] == "train"].dropna()
    if both := set(speakers) & set(of_training):
        told = counted(len(both), "speaker", "is", "are")
        notes.append(f"{told} in the split train too, on which the model is overconfident")
    if seen:
        notes.append(f"{_in_training(seen, answered)} of the model")
    if len(speakers) < 2:
        notes.append("fewer than two speakers: its effect on other speakers is unknown")
    return notes


def _in_training(seen: int, answered: int) -> str:
    return f"{counted(seen, 'utterance', 'is', 'are', of=answered)} in the training data"


def _check_own_folder(model: str | Path, label_map: object) -> None:
    """Check that a calibration can be kept in the folder of a model.

    Raises:
        CheckpointError: it cannot.
    """
    if Path(model).is_file():
        raise CheckpointError(
            f"{model} is a bundle, which cannot be changed; calibrate the model folder that it was "
            "made from, or unzip it into one, and bundle that again"
        )
    if label_map is not None or not Path(model).exists():
        what = "with other labels " if label_map is not None else ""
        raise CheckpointError(
            f"{model} {what}is no folder in which a calibration could be kept; name one with ",
            Parameter("out"),
        )
    if weights_file(Path(model)) is None:
        raise CheckpointError(
            f"{model} is no model folder with model.safetensors; calibrate the folder that training wrote, then "
            "bundle or export it"
        )


def fit(
    predictions: Sequence[Prediction],
    emotions: Sequence[str | None],
    speakers: Sequence[str | None],
    labels: Sequence[str],
    methods: Sequence[str] = METHODS,
) -> dict[str, CalibratedCondition]:
    """Fit a calibration for each condition that has answers.

    Args:
        predictions: uncalibrated predictions.
        emotions, speakers: (utterances,) true emotions and names of speakers.
        labels: emotions of the model; utterances with another emotion are skipped.
        methods: candidates among `METHODS`.

    Raises:
        CorpusError: the main condition has fewer than 16 utterances.
    """
    fitted, most = {}, 0
    for condition in CONDITIONS:
        answers = _answers(predictions, emotions, speakers, labels, condition)
        most = max(most, len(answers))
        if len(answers) >= FEWEST:
            fitted[condition] = fit_condition(answers, labels, methods)
    if not fitted:
        failed = next((prediction.error for prediction in predictions if prediction.error), None)
        raise CorpusError(
            f"{counted(most, 'utterance', 'has', 'have', of=len(predictions))} an answer and an emotion that the "
            f"model knows ({', '.join(labels)}); calibration needs {FEWEST}. Add more, or rename the emotions "
            "or the labels of the model" + (f"; the first error: {failed}" if failed else "")
        )
    return fitted


def fit_condition(
    answers: UncalibratedAnswers, labels: Sequence[str], methods: Sequence[str] = METHODS
) -> CalibratedCondition:
    """Select a candidate by log-loss on held-out speakers, and fit it on all utterances.

    The selected candidate is the simplest whose loss is within one standard error over speakers of the best
    (Breiman et al. 1984): with few speakers, the best is often best by chance and harms other speakers.
    With one speaker, only the methods of `LABEL_KEEPING` are candidates, because the others overfit that speaker.
    """
    people, unnamed = len(set(answers.speakers)), "" in answers.speakers
    if people == 1:
        methods = [method for method in methods if method in LABEL_KEEPING]
    if people > 1:
        count = min(people, FOLDS)
        folds = list(GroupKFold(count).split(answers.truth, groups=answers.speakers))
        told = f"{counted(count, 'fold')} of {counted(people - unnamed, 'speaker')}"
        told += " and of the utterances without one" if unnamed else ""
    else:
        folds = list(KFold(5, shuffle=True, random_state=0).split(answers.truth))
        told = "5 folds of the utterances" + ("" if unnamed else " of one speaker")
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
            label: _rounded_up(np.sort(missed[answers.truth == place])) for place, label in enumerate(labels)
        },
    )


def _rounded_up(scores: Floats) -> list[float]:
    """Round to 6 digits, never down: an answer just like one calibrated on stays within its threshold."""
    return (np.ceil(scores * 1e6) / 1e6).tolist()


def _simplest(left_out: Mapping[str, Floats], answers: UncalibratedAnswers) -> str:
    """Return the first of `METHODS` within one standard error of the best loss on held-out speakers."""
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


def _rows(probabilities: Floats, truth: Integers) -> list[dict[str, float]]:
    """Convert the rows of `confidence_bins` to JSON-serializable values."""
    rows = answer_bins(probabilities, truth).to_dict("records")
    return [{str(name): round(float(value), 6) for name, value in row.items()} for row in rows]


def _answers(
    predictions: Iterable[Prediction],
    emotions: Iterable[str | None],
    speakers: Iterable[str | None],
    labels: Sequence[str],
    condition: str,
) -> UncalibratedAnswers:
    """Select the answers of a condition whose true emotion the model knows."""
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
