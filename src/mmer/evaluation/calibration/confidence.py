"""Calibration error of confidences, and the risk at each coverage when unsure answers are withheld."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmer.display.picture import additional_picture
from mmer.evaluation.calibration.calibration_error import ConfidenceFigures, answer_bins, calibration_figures
from mmer.evaluation.calibration.plots import plot_reliability, plot_risk_coverage
from mmer.files.writing import write_csv
from mmer.inference.prediction import probability_column


class Confidence:
    """Confidences of judged answers.

    Args:
        predictions: rows of `predict_labeled`, at least one with an answer.
        labels: emotions of the model.
        fitted: whether the model folder has a calibration.
    """

    def __init__(self, predictions: pd.DataFrame, labels: Sequence[str], *, fitted: bool) -> None:
        answered = predictions.dropna(subset=["predicted"])
        self._probabilities = answered[[probability_column(label) for label in labels]].to_numpy()
        self._truth = pd.Index(labels).get_indexer(pd.Index(answered["emotion"]))
        self._fitted = fitted
        right = (answered["predicted"] == answered["emotion"]).to_numpy()
        self.curve = risk_coverage(self._probabilities.max(axis=1), right)

    def figures(self) -> ConfidenceFigures:
        """Compute the figures of calibration and of selective prediction."""
        return ConfidenceFigures(
            fitted=self._fitted,
            **calibration_figures(self._probabilities, self._truth),
            area_under_risk_coverage=area_under_risk_coverage(self.curve),
        )

    def write(self, folder: Path, *, title: str) -> None:
        """Write `risk_coverage.csv`, `risk_coverage.png` and `reliability.png`."""
        write_csv(self.curve, folder / "risk_coverage.csv")
        area = area_under_risk_coverage(self.curve)
        with additional_picture("risk_coverage.png"):
            plot_risk_coverage(self.curve, folder / "risk_coverage.png", area=area, title=title)
        name = "calibrated" if self._fitted else "uncalibrated"
        bins = answer_bins(self._probabilities, self._truth)
        with additional_picture("reliability.png"):
            plot_reliability({name: bins}, folder / "reliability.png", title=title)


def risk_coverage(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> pd.DataFrame:
    """Return the error rate of the n most confident answers, for each n (El-Yaniv and Wiener 2010).

    Each of several answers with equal confidence counts as the mean of them all.

    Args:
        confidence: (answers,) 0 to 1.
        right: (answers,) whether each answer is right.

    Returns:
        A row for each number of answers, from 1: `coverage`, their share of all; `risk`, the share of them that is
        wrong, 0 to 1; `confidence`, the lowest among them.

    Example:
        >>> curve = risk_coverage(np.array([0.9, 0.6, 0.8]), np.array([True, False, True]))
        >>> curve["risk"].round(3).tolist()
        [0.0, 0.0, 0.333]
    """
    table = pd.DataFrame({"confidence": confidence, "wrong": 1.0 - np.asarray(right, float)})
    table["wrong"] = table.groupby("confidence")["wrong"].transform("mean")
    table = table.sort_values("confidence", ascending=False, ignore_index=True)
    given = np.arange(1, len(table) + 1)
    return pd.DataFrame(
        {
            "coverage": given / len(table),
            "risk": table["wrong"].cumsum() / given,
            "confidence": table["confidence"],
        }
    )


def area_under_risk_coverage(curve: pd.DataFrame) -> float:
    """Compute the mean risk over all coverages (Geifman, Uziel and El-Yaniv 2019), 0 to 1; lower is better."""
    return float(curve["risk"].mean())
