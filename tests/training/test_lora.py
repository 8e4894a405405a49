"""Runs with LoRA: interrupted ones, what they keep, what cannot be."""

from pathlib import Path

import pytest
import torch
from consoles import quiet
from interrupting import Interrupting
from rich.console import Console
from safetensors.torch import load_file

from mmer.errors import EncoderError, RecipeError
from mmer.recipe.schema import Recipe
from mmer.training.run import TrainingRun, train

LORA = [
    "model.text.train=lora",
    "model.lora={rank: 4, alpha: 8, dropout: 0.2}",
    "augment.speech.probability=0",
]


@pytest.fixture
def recipe(tiny, reader: Path) -> Recipe:
    return tiny(f"model.text.encoder={reader}", "training.epochs=2", *LORA)


def kept(run: TrainingRun) -> dict[str, torch.Tensor]:
    return load_file(run.model_folder / "model.safetensors")


def test_interrupted_and_resumed_is_uninterrupted_and_merged(
    recipe: Recipe, reader: Path, tmp_path: Path
) -> None:
    whole = train(recipe, tmp_path / "whole", console=quiet())
    for epoch in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "run", console=Console(file=Interrupting(f"epoch {epoch}/2")))
    last = load_file(tmp_path / "run" / "checkpoints" / "checkpoint-6" / "model.safetensors")
    assert any("lora_A" in name for name in last)
    resumed = train(recipe, tmp_path / "run", console=quiet())
    assert resumed.metrics == whole.metrics
    merged, again = kept(whole), kept(resumed)
    assert all(torch.equal(weight, again[name]) for name, weight in merged.items())
    # Linear layers of the transformer have learned; everything else of the encoder is as it was, under its own name.
    base = load_file(reader / "model.safetensors")
    prefix = "text_encoder.model."
    mine = {name.removeprefix(prefix): weight for name, weight in merged.items() if name.startswith(prefix)}
    assert set(mine) == {name for name in base if not name.startswith("pooler.")}
    changed = {name for name, weight in mine.items() if not torch.equal(weight, base[name])}
    linear = {
        name
        for name in mine
        if ".layer." in name and name.endswith((".dense.weight", "y.weight", "e.weight"))
    }
    assert changed == linear
    assert len(changed) == 12


@pytest.mark.parametrize("how", ["frozen", "lora", "last:1"])
def test_a_compact_encoder_cannot_learn_in_part(tiny, tmp_path: Path, how: str) -> None:
    for side in ("speech", "text"):
        with pytest.raises(RecipeError) as error:
            train(tiny(f"model.{side}.train={how}"), tmp_path / side, console=quiet())
        assert str(error.value) == (
            f"model.{side}.train is {how}, but the compact encoder starts from random weights, which would stay so; "
            f"set model.{side}.train=full or name a pretrained model.{side}.encoder"
        )


def test_more_layers_than_there_are(tiny, reader: Path, tmp_path: Path) -> None:
    recipe = tiny(f"model.text.encoder={reader}", "model.text.train=last:3")
    with pytest.raises(EncoderError, match="is last:3, but the encoder has 2 layers"):
        train(recipe, tmp_path / "run", console=quiet())
