"""Choose the weights of an encoder that learn: all, none, its last layers, or low-rank weights (LoRA).

A frozen encoder runs without dropout, and so do the frozen layers of a speech encoder whose last layers learn, where
what they give can be stored. Any other encoder of which a part learns runs with dropout everywhere.

LoRA (Hu et al., 2022) adds to a linear layer W the product of two thin matrices, (alpha / rank) B A, which starts at
zero. `merge_lora` adds it to W for good, so that a finished model is one like any other.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from mmer.errors import EncoderError
from mmer.extras import import_extra
from mmer.recipe.values import LAST_LAYERS


def transformer_layers(encoder: nn.Module) -> nn.ModuleList:
    """Find the stack of transformer layers of a `transformers` encoder, lowest first.

    Raises:
        EncoderError: the encoder has no stack, for example because its layers share weights.
    """
    config: Any = encoder.config
    number = getattr(config, "num_hidden_layers", 0)
    lists = [module for module in encoder.modules() if isinstance(module, nn.ModuleList)]
    stacks = [layers for layers in lists if len(layers) == number > 0]
    if not stacks:
        raise EncoderError(
            f"encoders of type '{config.model_type}' have no stack of {number} layers to choose "
            "from; of train and training.layer_decay, only full, frozen and 1.0 suit them"
        )
    return max(stacks, key=_size)


def choose_trainable(encoder: nn.Module, train: str, side: str) -> None:
    """Make the weights that `train` names learn and freeze the others; `add_lora` adds those of LoRA.

    Args:
        encoder: an encoder of `transformers`.
        train: `full`, `frozen`, `lora` or `last:N`.
        side: `speech` or `text`, for the message.

    Raises:
        EncoderError: the encoder has fewer than N layers, or no stack of layers.
    """
    encoder.requires_grad_(train == "full")
    if number := LAST_LAYERS.fullmatch(train):
        layers, wanted = transformer_layers(encoder), int(number[1])
        if wanted > len(layers):
            raise EncoderError(
                f"model.{side}.train is {train}, but the encoder has {len(layers)} layers; "
                f"choose last:1 to last:{len(layers)}, or full"
            )
        layers[-wanted:].requires_grad_(True)


def add_lora(encoder: nn.Module, settings: Mapping[str, Any]) -> None:
    """Add low-rank matrices to every linear layer of an encoder's transformer layers; nothing else then learns.

    Args:
        encoder: an encoder of `transformers`, changed in place.
        settings: `rank`, `alpha`, `dropout`.

    Raises:
        MissingExtraError: peft is not installed.
        EncoderError: the encoder has no stack of layers.
    """
    peft: Any = import_extra("peft", "train: lora", "lora")
    layers = transformer_layers(encoder)
    kinds = (nn.Linear, Conv1D)  # GPT-2 and its kin store the weights of linear layers transposed
    linear = [module for layer in layers for module in layer.modules() if isinstance(module, kinds)]
    names = {id(module): name for name, module in encoder.named_modules()}
    config = peft.LoraConfig(
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        target_modules=[names[id(module)] for module in linear],
        fan_in_fan_out=all(isinstance(module, Conv1D) for module in linear),
    )
    peft.inject_adapter_in_model(config, encoder)


def merge_lora(encoder: nn.Module) -> None:
    """Add the low-rank matrices to the weights of their layers, and remove them."""
    from peft.tuners.lora import LoraLayer

    for part in list(encoder.modules()):
        for name, module in list(part.named_children()):
            if isinstance(module, LoraLayer):
                module.merge(safe_merge=True)
                setattr(part, name, module.get_base_layer())


def learns(module: nn.Module) -> bool:
    """Tell whether any weight of a module learns."""
    return any(weight.requires_grad for weight in module.parameters())


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
