"""Calibration metrics of probabilities."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

BINS = 10
"""Equal-width bins of confidence that the calibration error is computed over."""

_SMALLEST = 1e-30  # lower bound of a probability, so that its logarithm is finite
Floats = NDArray[np.float64]
Integers = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class ConfidenceFigures:
    """Figures of calibration and of selective prediction.

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
    """Compute the log-loss of (utterances, emotions) probabilities and (utterances,) true emotions, in nats."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(truth)), truth], _SMALLEST)).mean())


def calibration_figures(probabilities: Floats, truth: Integers) -> dict[str, float]:
    """Compute calibration metrics of probabilities.

    Args:
        probabilities: (utterances, emotions).
        truth: (utterances,) index of the true emotion.

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
    """Return `confidence_bins` of (utterances, emotions) probabilities and (utterances,) indices of the truth."""
    return confidence_bins(probabilities.max(axis=1), probabilities.argmax(axis=1) == truth)


def confidence_bins(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> pd.DataFrame:
    """Return the non-empty bins of confidence.

    Args:
        confidence: (answers,) probability of the predicted emotion, 0 to 1.
        right: (answers,) whether each answer is right.

    Returns:
        A row for each bin: `low`, `high`, `utterances`, and mean `confidence` and `accuracy`.
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
    """Compute the expected calibration error (Guo et al. 2017, equation 3), 0 to 1."""
    distance = (bins["confidence"] - bins["accuracy"]).abs()
    return float((bins["utterances"] * distance).sum() / bins["utterances"].sum())
