"""Abstention below a confidence threshold, and conformal label sets with a stated coverage."""

from dataclasses import dataclass, replace

from mmer.errors import CodedWarning, Function, MMERError, Parameter
from mmer.inference.prediction import AnswerFault, Prediction
from mmer.inference.trust.calibration import Calibration, check_share
from mmer.inference.trust.conformal import label_set, thresholds


@dataclass(frozen=True)
class Abstention:
    """Rule that marks unsure predictions and adds label sets.

    Args:
        calibration: calibration of the recognizer; None where its model folder has none.
        min_confidence: answers with a lower confidence are marked as abstained; None for none.
        coverage: share of answers whose label set contains the true emotion; None for no sets.
        by_class: whether the coverage holds for each emotion, not only on average.

    Raises:
        MMERError: a number is not between 0 and 1, `coverage` is given without a calibration, or `by_class` without
            `coverage`.

    Example:
        >>> sure = Abstention(None, min_confidence=0.6)
        >>> unsure = sure(Prediction(utterance_id="a", label="sad", probabilities={"angry": 0.45, "sad": 0.55}))
        >>> unsure.label, unsure.abstained
        ('sad', True)
    """

    calibration: Calibration | None
    min_confidence: float | None = None
    coverage: float | None = None
    by_class: bool = False

    def __post_init__(self) -> None:
        if self.min_confidence is not None:
            check_share("min_confidence", self.min_confidence)
        if self.coverage is not None:
            check_share("coverage", self.coverage)
            if self.calibration is None:
                raise MMERError(
                    Parameter("coverage"),
                    " needs a model folder with calibration.json; make it: ",
                    Function("calibrate", ("MODEL", "CORPUS")),
                )
        elif self.by_class:
            raise MMERError(
                Parameter("by_class"),
                " requires ",
                Parameter("coverage"),
                ", for example 0.9",
            )

    def __call__(self, prediction: Prediction) -> Prediction:
        """Fill in `abstained` and `label_set` of a prediction; a prediction with an error stays as it is."""
        if prediction.probabilities is None or prediction.confidence is None:
            return prediction
        abstained = self.min_confidence is not None and prediction.confidence < self.min_confidence
        made = replace(prediction, abstained=abstained)
        if self.coverage is None or self.calibration is None:
            return made
        found = self.calibration.conditions.get(prediction.condition)
        if found is None:
            condition = prediction.condition
            of = "both modalities" if condition == "both" else f"{condition} alone"
            told = f"no label set: nothing was calibrated for answers from {of}"
            return replace(
                made, warnings=[*prediction.warnings, CodedWarning(told, AnswerFault.NO_LABEL_SET)]
            )
        chosen = label_set(prediction.probabilities, found.scores, self.coverage, by_class=self.by_class)
        return replace(made, label_set=chosen)

    @property
    def notes(self) -> list[str]:
        """Return the limitations of the marks and the sets."""
        notes = []
        if self.min_confidence is not None and self.calibration is None:
            notes.append("confidences are not calibrated; calibrate the model before relying on them")
        if self.calibration is not None and self.coverage is not None:
            sets = (
                thresholds(found.scores, self.coverage, by_class=self.by_class)
                for found in self.calibration.conditions.values()
            )
            always = sorted({label for limits in sets for label, limit in limits.items() if limit >= 1})
            if always:
                told = f"too few calibration utterances for a coverage of {self.coverage:g}"
                notes.append(f"in every label set, for {told}: {', '.join(always)}")
        return notes
