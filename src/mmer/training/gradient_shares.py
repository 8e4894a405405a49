"""How much of the gradient each objective contributes."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmer.model.mmer import MMERForEmotionRecognition

PREFIX = "gradient_share_"
"""How the names of shares begin in the trainer's log."""


def gradient_shares(model: MMERForEmotionRecognition, inputs: Mapping[str, Any]) -> dict[str, float]:
    """Norm of each weighted objective's gradient over the sum of these norms.

    The gradients are those of the parameters that every objective reaches: the speech encoder's where CTC is on,
    for it reaches nothing else but its own head. Neither the model nor a random generator is changed.

    Args:
        model: as it trains, dropout included.
        inputs: of `model.forward`, with labels.

    Returns:
        objective -> share, 0 to 1, in sum 1; empty where the objectives have no parameters in common or the
        gradient is zero or not finite.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with _same_random_numbers(), torch.enable_grad():
        objectives: dict[str, Tensor] = model(**inputs).objectives
        gradients = {
            name: torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            for name, value in objectives.items()
        }
    shared = [
        index
        for index in range(len(parameters))
        if all(each[index] is not None for each in gradients.values())
    ]
    norms = {
        name: _weight(model, name) * _norm([each[i] for i in shared]) for name, each in gradients.items()
    }
    total = sum(norms.values())
    measurable = 0 < total < math.inf
    return {name: norm / total for name, norm in norms.items()} if measurable else {}


def _weight(model: MMERForEmotionRecognition, objective: str) -> float:
    return 1.0 if objective == "cross_entropy" else getattr(model.config, f"{objective}_weight")


def _norm(gradients: list[Any]) -> float:
    if not gradients:
        return 0.0
    return torch.stack([gradient.float().norm() for gradient in gradients]).norm().item()


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Leave the generators of numpy, which SpecAugment draws from, and PyTorch as they were."""
    numpy = np.random.get_state()
    with torch.random.fork_rng():
        yield
    np.random.set_state(numpy)
