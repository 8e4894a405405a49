"""What training keeps of the encoders' layers for the backward pass, and what it computes again."""

from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import create_selective_checkpoint_contexts

from mmer.recipe import Recompute

_EXPENSIVE = [
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.convolution.default,
    # What GPUs compute attention with keeps little and costs much; CPUs use plain products, which are made again.
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
]


def checkpointing_settings(recompute: Recompute) -> dict[str, Any] | None:
    """Keyword arguments of `gradient_checkpointing_enable`; null where nothing is computed again.

    Args:
        recompute: `cheap` keeps the results of matrix products and convolutions and computes attention maps,
            activations, normalizations and dropouts again; `layers` keeps the input of each layer alone. Random
            numbers are drawn again as they were, so neither changes the gradient.
    """
    if recompute == "none":
        return None
    settings: dict[str, Any] = {"use_reentrant": False}
    if recompute == "cheap":
        settings["context_fn"] = partial(create_selective_checkpoint_contexts, _EXPENSIVE)
    return settings
