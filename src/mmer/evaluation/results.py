"""Schemas of `metrics.json`: of a run, a cross-validation and an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmer.errors import MMERError
from mmer.evaluation.annotators import AnnotatorFigures
from mmer.evaluation.calibration.calibration_error import ConfidenceFigures
from mmer.evaluation.intervals import Interval
from mmer.evaluation.metrics import ALSO_CALLED, Metrics
from mmer.evaluation.modalities import ModalityFigures
from mmer.evaluation.slices import GroupFigures
from mmer.files.damaged import read_json_object
from mmer.runs.folder import METRICS
from mmer.runs.result_file import ADVICE, ResultFile
from mmer.text.error_rates import WordErrorBin, WordErrors


@dataclass(frozen=True, kw_only=True)
class ChosenEpoch:
    """Test scores of one selected epoch.

    Attributes:
        accuracy, balanced_accuracy: 0 to 1.
        epoch: from 1; None for a mean over folds and for a difference.
    """

    accuracy: float
    balanced_accuracy: float
    epoch: int | None = None


@dataclass(frozen=True, kw_only=True)
class SelectionBias:
    """Gain in the test scores from selecting the epoch on the test split.

    Attributes:
        test_selected, validation_selected: scores of the epoch that each split selects.
        difference: the first less the second.
    """

    test_selected: ChosenEpoch
    validation_selected: ChosenEpoch
    difference: ChosenEpoch


@dataclass(frozen=True)
class ExpectedFigures:
    """What a model trained on all utterances of a cross-validation can be expected to reach on new speakers.

    Attributes:
        folds: number of folds.
        mean, std: of each figure over the folds; the standard deviation is None with one fold.
        intervals: intervals of the pooled figures of all folds, over speakers.
        optimistic: whether the test folds chose the epochs.
    """

    folds: int
    mean: Mapping[str, float]
    std: Mapping[str, float | None]
    intervals: Mapping[str, Interval]
    optimistic: bool = False

    def told(self) -> str:
        """Describe the balanced accuracy in a sentence or two."""
        name = "balanced_accuracy"
        found = self.intervals.get(name)
        between = (
            ""
            if found is None or found.low is None
            else f"; pooled, 95 % interval {found.low:.1%} to {found.high:.1%}"
        )
        return (
            f"Expected balanced accuracy on new speakers: {mean_and_spread(self, name)}, the mean of {self.folds} "
            f"folds trained without them{between}."
            + (" The epochs were chosen on the test folds: this is optimistic." if self.optimistic else "")
        )


@dataclass(frozen=True, kw_only=True)
class RunMetrics(ResultFile):
    """Content of `metrics.json` of a run.

    Attributes:
        selection: the split that selected the epoch, or `last`.
        metric: the metric that selected the epoch, as `protocol.metric`.
        refit: whether the model was trained anew on training and validation.
        kept_epoch: the epoch of the model, from 1; None for a baseline.
        epochs: number of trained epochs; None for a baseline.
        infinite_ctc: how often CTC had no alignment for a transcript in training.
        train, validation, test: figures of each split; None where none of its utterances was answered.
        selection_bias: None where only one split can select the epoch.
        shared_speakers, shared_transcripts: split -> share of its utterances whose speaker or transcript occurs in
            training, 0 to 1.
        views: counts of accepted and rejected views, by kind; None without views.
        layer_weights: `speech` and `text` -> number of a hidden state of that encoder -> its learned weight, for
            encoders whose hidden states are mixed; the weights of one encoder add up to 1.
        system: the name of a baseline; None for a model.
        expected: figures of the cross-validation whose final model this is; None otherwise.
        also_called: other names of the figures.
    """

    selection: str
    metric: str = "balanced_accuracy"
    refit: bool = False
    kept_epoch: int | None = None
    epochs: int | None = None
    infinite_ctc: int = 0
    train: Metrics | None = None
    validation: Metrics | None = None
    test: Metrics | None = None
    selection_bias: SelectionBias | None = None
    shared_speakers: Mapping[str, float] = field(default_factory=dict)
    shared_transcripts: Mapping[str, float] = field(default_factory=dict)
    views: Mapping[str, int] | None = None
    layer_weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    system: str | None = None
    expected: ExpectedFigures | None = None
    also_called: Mapping[str, str] = field(default_factory=lambda: ALSO_CALLED)

    def of(self, split: str) -> Metrics | None:
        """Return the figures of a split; None where none of its utterances was answered."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]

    def judged(self, split: str) -> Metrics:
        """Return the figures of a split that was judged.

        Raises:
            MMERError: none of its utterances was answered.
        """
        if (figures := self.of(split)) is None:
            raise MMERError(f"the run has no figures of the split {split}")
        return figures


@dataclass(frozen=True, kw_only=True)
class CrossValidationMetrics(ResultFile):
    """Content of `metrics.json` of a cross-validation.

    Attributes:
        selection: the split that selected the epochs, or `last`.
        folds: figures of each trained fold on its test utterances.
        missing: folds not trained yet.
        mean, std: of each figure over folds; the standard deviation is None with one fold.
        pooled: figures of all answers together.
        intervals: intervals of the pooled figures, over speakers.
        selection_bias: mean over folds.
        shared_transcripts: share of the utterances whose transcript occurs in the training data of their fold, 0 to 1.
        system: the name of a baseline; None for models.
        also_called: other names of the figures.
    """

    kind: Literal["cross-validation"] = "cross-validation"
    selection: str
    folds: Mapping[str, Metrics]
    missing: Sequence[str]
    mean: Mapping[str, float]
    std: Mapping[str, float | None]
    pooled: Metrics
    intervals: Mapping[str, Interval]
    selection_bias: SelectionBias | None
    shared_transcripts: float
    system: str | None = None
    also_called: Mapping[str, str] = field(default_factory=lambda: ALSO_CALLED)


@dataclass(frozen=True, kw_only=True)
class TranscriptErrors(WordErrors):
    """Error rates of the transcripts that a model read, against those of the corpus.

    Attributes:
        condition: the transcript condition or the transcription.
        word_error_rate, character_error_rate: None where there is nothing to compare.
    """

    condition: str
    word_error_rate: float | None
    character_error_rate: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluation(ResultFile, Metrics):
    """Content of `metrics.json` of an evaluation.

    Attributes:
        in_training: how many of the judged utterances the model was trained on, from `overlap`; None where the model
            keeps no record.
        unseen: figures of the utterances that the model was not trained on; None where these are none or all.
        unknown_speakers: number of utterances of speakers who are neither enrolled nor have other clips, for a model
            that standardizes per speaker.
        left_out: numbers of utterances without an emotion (`no_emotion`), with one that the model does not know
            (`other_emotion`) and without an answer (`no_answer`).
        unlike: number of answered utterances whose recording is unlike those of the training.
        intervals: of each figure, over speakers.
        worst_groups: the worst group of each slice.
        confidence: figures of calibration and of selective prediction.
        transcripts, accuracy_by_word_error_rate: None where the corpus's own transcripts were read.
        modalities: condition -> figures; None for a model that needs both modalities.
        annotators: None where the corpus has no votes.
    """

    in_training: Mapping[str, int] | None
    unseen: Metrics | None
    unknown_speakers: int
    left_out: Mapping[str, int]
    unlike: int = 0
    intervals: Mapping[str, Interval]
    worst_groups: Mapping[str, GroupFigures]
    confidence: ConfidenceFigures
    transcripts: TranscriptErrors | None = None
    accuracy_by_word_error_rate: Sequence[WordErrorBin] | None = None
    modalities: Mapping[str, ModalityFigures] | None = None
    annotators: AnnotatorFigures | None = None


def mean_and_spread(found: ExpectedFigures | CrossValidationMetrics, figure: str) -> str:
    """Tell the mean of a figure over the folds and its standard deviation, where there is one: `61.3% ± 2.4`."""
    std = found.std[figure]
    return f"{found.mean[figure]:.1%}" + ("" if std is None else f" ± {100 * std:.1f}")


def is_cross_validation(content: Mapping[str, Any]) -> bool:
    """Tell whether the content of a `metrics.json` is that of a cross-validation."""
    return content.get("kind") == "cross-validation"


def is_run(content: Mapping[str, Any]) -> bool:
    """Tell whether the content of a `metrics.json` is that of a single run."""
    return "test" in content


def read_metrics(folder: Path) -> RunMetrics | CrossValidationMetrics:
    """Read the `metrics.json` of a run or of a cross-validation.

    Raises:
        CheckpointError: the file is damaged or of another version.
        MMERError: the file is that of an evaluation.
    """
    path = folder / METRICS
    content = read_json_object(path, ADVICE)
    if is_cross_validation(content):
        return CrossValidationMetrics.from_content(content, path)
    if is_run(content):
        return RunMetrics.from_content(content, path)
    raise MMERError(f"{path}: its figures are of an evaluation, not of a run or a cross-validation")
