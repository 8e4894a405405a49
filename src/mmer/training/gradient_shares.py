"""Share of each objective in the gradient."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmer.model.mmer import MMERForEmotionRecognition

PREFIX = "gradient_share_"
"""Prefix of shares in the trainer's log."""


def gradient_shares(model: MMERForEmotionRecognition, inputs: Mapping[str, Any]) -> dict[str, float]:
    """Compute the norm of each weighted objective's gradient, relative to the sum of these norms.

    The gradients are those of the parameters that all objectives share: with CTC, only the speech encoder's, because
    CTC reaches nothing else but its own head. The model and the random generators stay unchanged.

    Args:
        model: the model in training mode, with dropout.
        inputs: inputs of `model.forward`, with labels.

    Returns:
        objective -> share, 0 to 1, adding up to 1; empty where the objectives share no parameters or the gradient is
        zero or not finite.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found: dict[str, list[Tensor | None]] = {}
    missing = True
    while missing:
        # One forward pass for each objective: activation checkpointing allows one backward pass through a graph.
        with _same_random_numbers(), torch.enable_grad():
            objectives: dict[str, Tensor] = model(**inputs).objectives
            name = next(name for name in objectives if name not in found)
            gradients = torch.autograd.grad(objectives[name], parameters, allow_unused=True)
        found[name] = [None if gradient is None else gradient.float().norm() for gradient in gradients]
        missing = len(found) < len(objectives)
    norms = {}
    for name, each in found.items():
        shared = [norm for norm, *others in zip(each, *found.values(), strict=True) if _all_given(others)]
        norms[name] = _weight(model, name) * _norm(shared)
    total = sum(norms.values())
    measurable = 0 < total < math.inf
    return {name: norm / total for name, norm in norms.items()} if measurable else {}


def _all_given(norms: list[Tensor | None]) -> bool:
    return all(norm is not None for norm in norms)


def _weight(model: MMERForEmotionRecognition, objective: str) -> float:
    return 1.0 if objective == "cross_entropy" else getattr(model.config, f"{objective}_weight")


def _norm(norms: list[Any]) -> float:
    return torch.stack(norms).norm().item() if norms else 0.0


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Restore the random generators of PyTorch and of numpy, which SpecAugment uses."""
    numpy = np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        np.random.set_state(numpy)
