"""Activation checkpointing: store fewer activations of the encoders, and recompute them in the backward pass."""

from functools import partial

import torch
from torch.utils.checkpoint import create_selective_checkpoint_contexts
from transformers import PreTrainedModel

from mmer.recipe.values import ActivationCheckpointing

_EXPENSIVE = [
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.convolution.default,
    # What GPUs compute attention with keeps little and costs much; CPUs use plain products, which are made again.
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
]


def enable_activation_checkpointing(model: PreTrainedModel, recomputed: ActivationCheckpointing) -> None:
    """Make the layers of a model recompute activations in the backward pass instead of storing them.

    Args:
        model: its layers are changed in place.
        recomputed: `none` keeps everything; `cheap` keeps the results of matrix products and convolutions and computes
            attention maps, activations, normalizations and dropouts again; `layers` keeps the input of each layer
            alone. Random numbers are drawn again as they were, so none of them changes the gradient.
    """
    if recomputed == "none":
        return
    kept = partial(create_selective_checkpoint_contexts, _EXPENSIVE)
    settings = {"use_reentrant": False, **({"context_fn": kept} if recomputed == "cheap" else {})}
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=settings)
    else:  # before transformers 5.20
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=settings)
