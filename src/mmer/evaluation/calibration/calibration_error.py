"""How far probabilities are from what happens."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

BINS = 10
"""Equal-width bins of confidence that the calibration error is computed over."""

_SMALLEST = 1e-30  # probability that stands for zero where its logarithm is taken
Floats = NDArray[np.float64]
Integers = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class ConfidenceFigures:
    """How far the confidence of answers can be believed.

    Attributes:
        fitted: whether the model folder has a calibration.
        log_loss, brier, expected_calibration_error: of `calibration_figures`.
        area_under_risk_coverage: mean risk over all coverages, 0 to 1.
    """

    fitted: bool
    log_loss: float
    brier: float
    expected_calibration_error: float
    area_under_risk_coverage: float


def log_loss(probabilities: Floats, truth: Integers) -> float:
    """Mean of minus the logarithm of the true emotion's probability; (utterances, emotions) and (utterances,)."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(truth)), truth], _SMALLEST)).mean())


def calibration_figures(probabilities: Floats, truth: Integers) -> dict[str, float]:
    """How far probabilities are from what happens.

    Args:
        probabilities: (utterances, emotions).
        truth: (utterances,) place of the true emotion.

    Returns:
        `log_loss`; `brier`, mean over utterances of the squared distance summed over emotions, 0 to 2; and
        `expected_calibration_error` over 10 bins of equal width, 0 to 1.
    """
    rows = np.arange(len(truth))
    wanted = np.zeros_like(probabilities)
    wanted[rows, truth] = 1
    bins = answer_bins(probabilities, truth)
    return {
        "log_loss": log_loss(probabilities, truth),
        "brier": float(((probabilities - wanted) ** 2).sum(axis=1).mean()),
        "expected_calibration_error": calibration_error(bins),
    }


def answer_bins(probabilities: Floats, truth: Integers) -> pd.DataFrame:
    """`confidence_bins` of (utterances, emotions) probabilities and (utterances,) places of the true emotion."""
    return confidence_bins(probabilities.max(axis=1), probabilities.argmax(axis=1) == truth)


def confidence_bins(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> pd.DataFrame:
    """Bins of confidence that are not empty.

    Args:
        confidence: (answers,) probability of the emotion that was answered, 0 to 1.
        right: (answers,).

    Returns:
        A row for each: `low`, `high`, `utterances`, and mean `confidence` and `accuracy`.
    """
    place = np.clip(np.ceil(np.asarray(confidence) * BINS).astype(int) - 1, 0, BINS - 1)
    table = pd.DataFrame({"bin": place, "confidence": confidence, "accuracy": np.asarray(right, float)})
    bins = table.groupby("bin").agg(
        utterances=("accuracy", "size"), confidence=("confidence", "mean"), accuracy=("accuracy", "mean")
    )
    bins.insert(0, "low", bins.index.to_numpy() / BINS)
    bins.insert(1, "high", bins["low"] + 1 / BINS)
    return bins.reset_index(drop=True)


def calibration_error(bins: pd.DataFrame) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3): mean distance of confidence and accuracy, 0 to 1."""
    distance = (bins["confidence"] - bins["accuracy"]).abs()
    return float((bins["utterances"] * distance).sum() / bins["utterances"].sum())
