"""Each objective's share of the gradient: against gradients taken one objective at a time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interrupting import Interrupting
from rich.console import Console
from safetensors.torch import load_file
from tiny import speech_config, speech_inputs, text_inputs, tiny_model
from torch import Tensor

from mmer.model import MMERForEmotionRecognition
from mmer.model.encoders.activation_checkpointing import enable_activation_checkpointing
from mmer.recipe.values import ActivationCheckpointing
from mmer.training.gradient_shares import gradient_shares
from mmer.training.run import train

WEIGHTS = {"ctc": 0.3, "supervised_contrastive": 0.5, "augmented_contrastive": 0.7}


def batch(model: MMERForEmotionRecognition) -> dict[str, Tensor]:
    inputs: dict[str, Tensor] = {}
    for prefix, seed in (("", 0), ("augmented_", 1)):
        view = text_inputs([4, 6, 3], seed) | speech_inputs(model, [8000, 4800, 6400], seed)
        inputs |= {prefix + name: tensor for name, tensor in view.items()}
    ctc_labels = torch.tensor([[5, 6, 7], [8, -100, -100], [-100, -100, -100]])
    return inputs | {"labels": torch.tensor([0, 1, 0]), "ctc_labels": ctc_labels}


def test_shares_are_those_of_one_backward_pass_for_each_objective() -> None:
    settings: dict[str, Any] = {f"{name}_weight": weight for name, weight in WEIGHTS.items()}
    model = tiny_model("wav2vec2-group", 0, dropout=0.0, **settings)
    inputs = batch(model)
    norms = {}
    for name, weight in {"cross_entropy": 1.0, **WEIGHTS}.items():
        model.zero_grad()
        (weight * model(**inputs).objectives[name]).backward()
        assert model.speech_encoder is not None
        gradients = [each.grad for each in model.speech_encoder.parameters() if each.grad is not None]
        norms[name] = torch.cat([gradient.flatten() for gradient in gradients]).norm().item()
    model.zero_grad()
    shares = gradient_shares(model, inputs)
    assert shares == pytest.approx(
        {name: norm / sum(norms.values()) for name, norm in norms.items()}, rel=1e-4
    )
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("recompute", ["cheap", "layers"])
def test_activation_checkpointing_changes_no_share(recompute: ActivationCheckpointing) -> None:
    def measured(how: ActivationCheckpointing) -> dict[str, float]:
        model = tiny_model("wav2vec2-group", 0, dropout=0.3, text_train="full").train()
        enable_activation_checkpointing(model, how)
        torch.manual_seed(2)
        return gradient_shares(model, batch(model))

    plain = measured("none")
    assert len(plain) == 4
    assert measured(recompute) == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("fails", [False, True])
def test_random_numbers_go_on_as_if_nothing_had_been_measured(fails: bool) -> None:
    masked = speech_config("wav2vec2-group", apply_spec_augment=True, mask_time_prob=0.5, mask_time_length=2)
    model = tiny_model(dropout=0.5, speech_config=masked).train()
    inputs = batch(model)

    def drawn(measured: bool) -> tuple[float, float]:
        np.random.seed(1)
        torch.manual_seed(1)
        if measured and fails:
            with pytest.raises(IndexError, match="out of bounds"):  # after SpecAugment has drawn
                gradient_shares(model, {**inputs, "labels": inputs["labels"] + 100})
        elif measured:
            gradient_shares(model, inputs)
        return np.random.rand(), torch.rand(()).item()

    assert drawn(measured=True) == drawn(measured=False)


def test_training_logs_shares_before_each_epoch_and_ends_with_the_same_weights(tiny, tmp_path: Path) -> None:
    lively = [
        "protocol={selection: last, validation: 0}",
        "training.epochs=2",
        "training.accumulation=2",
        "model.dropout=0.3",
        "augment.features.warp=0.1",
    ]
    weights, logs = [], []
    for measured in ("false", "true"):
        recipe, folder = tiny(*lively, f"training.log_gradient_shares={measured}"), tmp_path / measured
        with pytest.raises(KeyboardInterrupt):  # before the judgement
            train(recipe, folder, console=Console(file=Interrupting("epoch 2/2")))
        last = max((folder / "checkpoints").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        weights.append(load_file(last / "model.safetensors"))
        state = json.loads((last / "trainer_state.json").read_text())
        logs.append([log for log in state["log_history"] if "gradient_share_ctc" in log])
    assert all(torch.equal(weights[1][name], weight) for name, weight in weights[0].items())
    assert [[log["epoch"] for log in each] for each in logs] == [[], [0, 1]]
    for log in logs[1]:
        shares = {name: value for name, value in log.items() if name.startswith("gradient_share_")}
        assert len(shares) == 4
        assert sum(shares.values()) == pytest.approx(1)
