"""Logistic regression that stays near weights it is given; scikit-learn's stays near zero."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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
    fitted = first.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([fitted], max_iter=1000, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        surprise = nn.functional.cross_entropy(rows @ fitted.T, true, reduction="none")
        penalized = strength * (shares * surprise).sum() + (fitted - first).square().sum() / 2
        penalized.backward()
        return penalized

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # products this small wait for other threads longer than they compute
    try:
        optimizer.step(loss)
    finally:
        torch.set_num_threads(threads)
    return fitted.detach().numpy()
