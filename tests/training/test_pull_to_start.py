"""The pull toward the weights that training started with, against its formula."""

from pathlib import Path

import pytest
import torch
from tiny import tiny_model
from transformers import TrainerControl, TrainerState, TrainingArguments

from mmer.training.pull_to_start import PullToStart


@pytest.mark.parametrize(("strength", "shares"), [(5.0, (0.5, 0.9)), (40.0, (0.0, 0.2)), (0.0, (1.0, 1.0))])
def test_each_weight_comes_back_by_its_learning_rate_times_the_strength(
    strength: float, shares: tuple[float, float], tmp_path: Path
) -> None:
    model = tiny_model()
    pull = PullToStart(model, strength)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    speech = {name for name in before if name.startswith("speech_encoder.")}
    rates = {
        rate: [weight for name, weight in model.named_parameters() if (name in speech) == slow]
        for rate, slow in ((0.1, False), (0.02, True))
    }
    optimizer = torch.optim.SGD([{"params": weights, "lr": rate} for rate, weights in rates.items()])
    learns = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert speech & learns
    assert speech - learns
    with torch.no_grad():
        for weight in model.parameters():
            weight += 1
    pull.on_optimizer_step(
        TrainingArguments(str(tmp_path)), TrainerState(), TrainerControl(), optimizer=optimizer
    )
    for name, weight in model.named_parameters():
        pulled = name in learns and not name.startswith("classifier.")
        left = shares[name in speech] if pulled else 1.0
        torch.testing.assert_close(weight.detach(), before[name] + left, msg=name)
