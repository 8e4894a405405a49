"""Methods of calibration, each fitted to uncalibrated probabilities.

Temperature scaling and vector scaling follow Guo et al. (On calibration of modern neural networks, 2017), isotonic
regression of each emotion against the others with renormalized outputs follows Zadrozny and Elkan (2002).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp
from sklearn.isotonic import IsotonicRegression

from mmer.evaluation.calibration.calibration_error import Integers
from mmer.inference.trust.calibration import SMALLEST, Calibrator, Floats

METHODS = ("none", "temperature", "vector", "isotonic")
"""Candidate methods, the simplest first."""

LABEL_KEEPING = ("none", "temperature")
"""Methods that never change which emotion is the most probable."""

FEWEST = 16
"""Smallest number of utterances to fit on."""

FOLDS = 10
_TEMPERATURES = (0.05, 20.0)
_BIASES = (-10.0, 10.0)


def smallest(loss: Callable[[float], float], low: float, high: float) -> float:
    """Find where a function of one number is smallest between two bounds."""
    # scipy does not declare its results
    found: Any = minimize_scalar(loss, bounds=(low, high), method="bounded")
    return float(found.x)


def fit_calibrator(method: str, probabilities: Floats, truth: Integers) -> Calibrator:
    """Fit one of `METHODS`.

    Args:
        method: its name.
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
        log = smallest(lambda log: _cross_entropy(logs / np.exp(log), truth)[0], *span)
        return Calibrator("temperature", {"temperature": float(np.exp(log))})
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
    """Return the probability reserved for each answer that was never right in the data."""
    return 1 / (len(truth) + 2)


def _cross_entropy(logits: Floats, truth: Integers) -> tuple[float, Floats]:
    """Compute the mean cross-entropy of (utterances, emotions) logits less `_rest`, and its gradient."""
    count, emotions = logits.shape
    rest = _rest(truth)
    targets = np.full(logits.shape, rest / max(emotions - 1, 1))
    targets[np.arange(count), truth] = 1 - rest
    logs = logits - logsumexp(logits, axis=1, keepdims=True)
    return float(-(targets * logs).sum() / count), (np.exp(logs) - targets) / count
