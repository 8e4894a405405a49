"""Logistic regression that stays near weights it is given; scikit-learn's stays near zero."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import nn


def fit_near(
    start: NDArray[Any],
    inputs: NDArray[Any],
    classes: NDArray[np.int_],
    strength: float,
    weights: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """Fit weights W that minimize `strength` · Σ weight · cross-entropy + ½ ‖W - start‖².

    Args:
        start: (classes, inputs).
        inputs: (clips, inputs); a column of ones for a bias, which is then held near that of the start, too.
        classes: (clips,) numbers of the right classes.
        strength: 0 or more; the inverse of the penalty.
        weights: (clips,); None for 1 each.

    Returns:
        (classes, inputs).
    """
    first, rows, true = (torch.from_numpy(np.asarray(each)) for each in (start, inputs, classes))
    first, rows = first.double(), rows.double()
    shares = torch.ones(len(rows)) if weights is None else torch.from_numpy(np.asarray(weights))
    shares = strength * shares[:, None]
    right = shares * nn.functional.one_hot(true, len(first))

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        fitted = torch.from_numpy(flat).view_as(first)
        logarithms = torch.log_softmax(rows @ fitted.T, dim=1)
        moved = fitted - first
        penalized = moved.square().sum() / 2 - (right * logarithms).sum()
        gradient = (shares * logarithms.exp() - right).T @ rows + moved
        return float(penalized), gradient.flatten().numpy()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # products this small wait for other threads longer than they compute
    try:
        found = minimize(
            loss, first.flatten().numpy(), jac=True, method="L-BFGS-B", options={"gtol": 1e-6, "ftol": 0}
        )
    finally:
        torch.set_num_threads(threads)
    return found.x.reshape(first.shape)
