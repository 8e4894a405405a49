"""Smoothed probabilities or dimensions along a timeline, which a picture and a page draw as lines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from mmer.inference.prediction import Prediction
from mmer.inference.timeline.segments import segment_end, segment_start

POINTS = 600
_WIDTH = 1 / 80  # standard deviation of the kernel, as a share of the duration
_NARROWEST = 1.5  # s, its smallest
_LEAST = 0.05  # weight of the speech around a point below which there is a gap


@dataclass(frozen=True)
class Curves:
    """Probabilities or dimensions over time.

    Attributes:
        times: (points,) seconds.
        values: (points, emotions); NaN where nobody speaks nearby.
        seconds: standard deviation of the kernel.
    """

    times: NDArray[np.float64]
    values: NDArray[np.float64]
    seconds: float


def smoothed_curves(segments: Sequence[Prediction], labels: Sequence[str], duration: float) -> Curves:
    """Average probabilities, or dimensions, with a Gaussian kernel over the time that each segment lasts.

    Args:
        segments: answers of one voice; those with an error are left out.
        labels: emotions or dimensions, in the order of the columns.
        duration: duration of the recording in seconds.
    """
    seconds = max(duration * _WIDTH, _NARROWEST)
    times = np.linspace(0, duration, POINTS)
    answered = [segment for segment in segments if segment.probabilities or segment.dimensions]
    starts = np.array([segment_start(segment) for segment in answered])
    ends = np.array([segment_end(segment) for segment in answered])
    shares = np.array(
        [
            [(segment.probabilities or segment.dimensions or {})[label] for label in labels]
            for segment in answered
        ]
    ).reshape(len(answered), len(labels))
    weights = ndtr((ends - times[:, None]) / seconds) - ndtr((starts - times[:, None]) / seconds)
    total = weights.sum(axis=1, keepdims=True)
    values = np.where(total < _LEAST, np.nan, weights @ shares / np.maximum(total, _LEAST))
    return Curves(times, values, seconds)
