"""The sum of the objectives."""

from typing import Any, Literal

import pytest
import torch
from tiny import model_config
from torch import Tensor

from mmer.objectives.contrastive import (
    augmented_contrastive,
    official_augmented_contrastive,
    official_supervised_contrastive,
    supervised_contrastive,
)
from mmer.objectives.multitask import multitask_loss

WEIGHTS: dict[str, Any] = {
    "ctc_weight": 0.3,
    "supervised_contrastive_weight": 0.7,
    "augmented_contrastive_weight": 1.9,
}


def inputs() -> dict[str, Tensor]:
    """Of eight utterances of four emotions: one has no transcript, one a transcript without alignment."""
    generator = torch.Generator().manual_seed(0)
    present, infinite = torch.ones(8, dtype=torch.bool), torch.zeros(8, dtype=torch.bool)
    present[2], infinite[5] = False, True
    losses = torch.rand(8, generator=generator) * (present & ~infinite)
    return {
        "logits": torch.randn(8, 4, generator=generator),
        "labels": torch.arange(8) % 4,
        "ctc_losses": losses,
        "ctc_present": present,
        "ctc_infinite": infinite,
        "embeddings": torch.randn(8, 24, generator=generator),
        "augmented_embeddings": torch.randn(8, 24, generator=generator),
    }


def test_equation_1() -> None:
    """L = L_CE + 0.3 L_CTC + 0.7 L_SCL + 1.9 L_ACL, each objective as the paper defines it."""
    summary = inputs()
    z, labels = summary["embeddings"], summary["labels"]
    expected = {
        "cross_entropy": -summary["logits"].log_softmax(1)[torch.arange(8), labels].mean(),
        "ctc": summary["ctc_losses"].sum() / 6,
        "supervised_contrastive": supervised_contrastive(z, labels, 0.2),
        "augmented_contrastive": augmented_contrastive(z, summary["augmented_embeddings"], 0.2),
    }
    loss, found, infinite = multitask_loss(model_config(**WEIGHTS, temperature=0.2), summary)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    weighted = [weight * expected[name.removesuffix("_weight")] for name, weight in WEIGHTS.items()]
    torch.testing.assert_close(loss, expected["cross_entropy"] + torch.stack(weighted).sum())
    assert infinite.item() == 1


def test_the_official_formulation() -> None:
    """Of its objectives, L_CTC is a sum that one transcript without alignment makes infinite."""
    summary = inputs()
    z, labels = summary["embeddings"], summary["labels"]
    loss, found, infinite = multitask_loss(
        model_config(**WEIGHTS, temperature=0.2, formulation="official"), summary
    )
    assert (loss.item(), found["ctc"].item(), infinite.item()) == (float("inf"), float("inf"), 1)
    expected = {
        "supervised_contrastive": official_supervised_contrastive(z, labels, 0.2),
        "augmented_contrastive": official_augmented_contrastive(z, summary["augmented_embeddings"], 0.2),
    }
    torch.testing.assert_close({name: found[name] for name in expected}, expected, rtol=1e-6, atol=0)


def test_class_weights_and_label_smoothing() -> None:
    """With weights w and smoothing 0.1 of 4 classes, the target of class c is 0.9 [c = y] + 0.025."""
    summary = {name: inputs()[name] for name in ("logits", "labels")}
    class_weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    config = model_config(class_weights=class_weights.tolist(), label_smoothing=0.1)
    loss, found, infinite = multitask_loss(config, summary)
    targets = 0.9 * torch.eye(4)[summary["labels"]] + 0.025
    costs = -(targets * class_weights * summary["logits"].log_softmax(1)).sum(1)
    torch.testing.assert_close(loss, costs.sum() / class_weights[summary["labels"]].sum())
    assert (set(found), infinite.item()) == ({"cross_entropy"}, 0)


@pytest.mark.parametrize("formulation", ["paper", "official"])
def test_autocast_changes_no_objective(formulation: Literal["paper", "official"]) -> None:
    """Similarities divided by a temperature of 0.07 leave no room for the rounding of bfloat16."""
    summary = {name: tensor for name, tensor in inputs().items() if not name.startswith("ctc")}
    config = model_config(formulation=formulation)
    _, expected, _ = multitask_loss(config, summary)
    with torch.autocast("cpu", torch.bfloat16):
        _, found, _ = multitask_loss(config, summary)
    assert set(found) == {"cross_entropy", "supervised_contrastive", "augmented_contrastive"}
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("given", "computed"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)]
)
def test_half_precision_is_computed_in_float32_and_double_precision_stays(
    given: torch.dtype, computed: torch.dtype
) -> None:
    """All but the losses of `ctc_losses`, which are of that precision already."""
    exact = {
        name: each.to(given).to(computed) if each.is_floating_point() else each
        for name, each in inputs().items()
    }
    rounded = {name: exact[name].to(given) for name in ("logits", "embeddings", "augmented_embeddings")}
    config = model_config(**WEIGHTS, class_weights=[1.0, 2.0, 0.5, 3.0])
    _, found, _ = multitask_loss(config, {**exact, **rounded})
    _, expected, _ = multitask_loss(config, exact)
    assert {each.dtype for each in found.values()} == {computed}
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_an_objective_whose_weight_is_zero_is_left_out() -> None:
    summary = {name: each for name, each in inputs().items() if not name.startswith("augmented")}
    config = model_config(**{**WEIGHTS, "supervised_contrastive_weight": 0.0})
    _, found, _ = multitask_loss(config, summary)
    assert set(found) == {"cross_entropy", "ctc"}
