"""Parameter groups: learning rates of encoders and fusion, layer-wise decay, weight decay."""

from collections.abc import Collection, Iterator
from typing import Any

from torch import nn

from mmer.errors import RecipeError
from mmer.model.encoders.trainable import transformer_layers
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.recipe.training import Training

Group = dict[str, Any]


def parameter_groups(
    model: MMERForEmotionRecognition, settings: Training, decayed: Collection[str]
) -> list[Group]:
    """Group the trained weights by learning rate and weight decay.

    The top layer of an encoder has the encoder's learning rate, and each lower layer that of the one above times
    `layer_decay`. Weights outside the layers, such as embeddings, count as below the lowest layer.

    Args:
        model: the model, with LoRA weights in place.
        settings: learning rates, `layer_decay` and `weight_decay`.
        decayed: names of the weights with weight decay.

    Returns:
        `params`, `lr` and `weight_decay` of each group; the first has `learning_rate`, which is therefore logged.

    Raises:
        RecipeError: a frozen encoder has a learning rate.
        EncoderError: `layer_decay` is not 1, and an encoder has no stack of layers.
    """
    rates = {
        name: rate
        for side, encoder, rate in (
            ("speech", model.speech_encoder, settings.speech_learning_rate),
            ("text", model.text_encoder, settings.text_learning_rate),
        )
        if encoder is not None
        for name, rate in _encoder_rates(f"{side}_encoder", encoder, rate, settings)
    }
    groups: dict[tuple[float, bool], Group] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate, decays = rates.get(name, settings.learning_rate), name in decayed
            decay = settings.weight_decay if decays else 0.0
            group = groups.setdefault((rate, decays), {"params": [], "lr": rate, "weight_decay": decay})
            group["params"].append(parameter)
    order = sorted(groups, key=lambda key: (key[0] != settings.learning_rate, -key[0], not key[1]))
    return [groups[key] for key in order]


def _encoder_rates(
    prefix: str, encoder: Any, rate: float | None, settings: Training
) -> Iterator[tuple[str, float]]:
    """Return the learning rate of each weight of an encoder, by its name in the whole model."""
    side = prefix.removesuffix("_encoder")
    if rate is not None and encoder.trained == "frozen":
        raise RecipeError(
            f"training.{side}_learning_rate is {rate:g}, but model.{side}.train is frozen; set one of them otherwise"
        )
    top = rate or settings.learning_rate
    depths: dict[int, int] = {}
    layers: list[nn.Module] = [] if settings.layer_decay == 1 else list(transformer_layers(encoder.model))
    for below, layer in enumerate(reversed(layers)):
        depths |= {id(parameter): below for parameter in layer.parameters()}
    for name, parameter in encoder.model.named_parameters(prefix=f"{prefix}.model"):
        yield name, top * settings.layer_decay ** depths.get(id(parameter), len(layers))
