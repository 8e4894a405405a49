"""The pull toward the weights that training started with, so that a model that learns more forgets less."""

from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mmer.model.mmer import MMERForEmotionRecognition


class PullToStart(TrainerCallback):
    """Moves each trained weight toward its first value after every optimizer step (L2-SP; Li et al., 2018).

    As AdamW's weight decay is toward zero, w becomes w + rate * strength * (start - w), where `rate` is the current
    learning rate of the weight. The classifier is not pulled, since its rows for new labels start at random.

    Args:
        model: before training.
        strength: of the pull, `training.pull_to_start`.
    """

    def __init__(self, model: MMERForEmotionRecognition, strength: float) -> None:
        self.strength = strength
        free = set(model.classifier.parameters())
        self._starts: dict[Tensor, Tensor] = {
            weight: weight.detach().clone()
            for weight in model.parameters()
            if weight.requires_grad and weight not in free
        }

    @torch.no_grad()
    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        for group in kwargs["optimizer"].param_groups:
            step = min(1.0, group["lr"] * self.strength)
            for weight in group["params"]:
                if weight in self._starts:
                    self._starts[weight] = self._starts[weight].to(weight.device)
                    weight.lerp_(self._starts[weight], step)
