"""The sum of the objectives."""

from typing import Literal

import pytest
import torch
from tiny import model_config

from mmer.objectives.multitask import multitask_loss


@pytest.mark.parametrize("formulation", ["paper", "official"])
def test_autocast_changes_no_objective(formulation: Literal["paper", "official"]) -> None:
    """Similarities divided by a temperature of 0.07 leave no room for the rounding of bfloat16."""
    generator = torch.Generator().manual_seed(0)
    summary = {
        "logits": torch.randn(8, 4, generator=generator),
        "labels": torch.arange(8) % 4,
        "embeddings": torch.randn(8, 24, generator=generator),
        "augmented_embeddings": torch.randn(8, 24, generator=generator),
    }
    config = model_config(formulation=formulation)
    _, expected, _ = multitask_loss(config, summary)
    with torch.autocast("cpu", torch.bfloat16):
        _, found, _ = multitask_loss(config, summary)
    assert set(found) == {"cross_entropy", "supervised_contrastive", "augmented_contrastive"}
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=0)
