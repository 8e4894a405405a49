"""Settings by the names that they had before: in recipes, overrides, run folders and model folders."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import tiny_model

from mmer.errors import RecipeError
from mmer.model import MMERConfig, MMERForEmotionRecognition
from mmer.recipe.renamed import RENAMED
from mmer.recipe.schema import Recipe, load_recipe, load_run_recipe

OLD: dict[str, tuple[Any, str]] = {
    "model.stand_ins": (True, "true"),
    "model.without": (["gate", "block_b"], "[gate, block_b]"),
    "training.recompute": ("layers", "layers"),
}
"""Old name, with a value and how an override writes it."""


def setting(recipe: Recipe, path: str) -> Any:
    section, _, key = path.partition(".")
    return getattr(getattr(recipe, section), key)


def test_every_renamed_setting_is_tested() -> None:
    assert OLD.keys() == RENAMED.keys()


@pytest.mark.parametrize("old", OLD)
def test_old_names_in_files_and_overrides(old: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    value, written = OLD[old]
    section, _, key = old.partition(".")
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({section: {key: value}}), encoding="utf-8")
    assert setting(load_run_recipe(tmp_path), RENAMED[old]) == value
    assert not caplog.messages
    for source, recipe, overrides in (
        (f"recipe {file}", str(file), []),
        (f"override '{old}={written}'", "demo", [f"{old}={written}"]),
        (f"override '{section}={{{key}: {written}}}'", "demo", [f"{section}={{{key}: {written}}}"]),
    ):
        recipe = load_recipe(recipe, overrides)
        assert setting(recipe, RENAMED[old]) == value
        assert caplog.messages == [f"{source}: {old} is now called {RENAMED[old]}; the old name still works"]
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert key not in yaml.safe_load(recipe.dump())[section]
        caplog.clear()


@pytest.mark.parametrize("old", OLD)
def test_both_names_are_refused_and_the_last_override_wins(old: str, tmp_path: Path) -> None:
    value, written = OLD[old]
    section, _, key = old.partition(".")
    new = RENAMED[old].partition(".")[2]
    file = tmp_path / "both.yaml"
    file.write_text(yaml.safe_dump({section: {key: value, new: value}}), encoding="utf-8")
    with pytest.raises(RecipeError, match=f"{old} is the old name of {RENAMED[old]}, which is given too"):
        load_recipe(str(file))
    other = setting(Recipe(), RENAMED[old])
    undone = {True: "true", False: "false"}.get(other) if isinstance(other, bool) else str(other)
    assert (
        setting(load_recipe("demo", [f"{old}={written}", f"{RENAMED[old]}={undone}"]), RENAMED[old]) == other
    )


def test_errors_give_the_new_name() -> None:
    with pytest.raises(RecipeError, match=r"override 'training.recompute=all': training.activation_checkp"):
        load_recipe("demo", ["training.recompute=all"])


def test_model_folders_with_old_names(tmp_path: Path) -> None:
    model = tiny_model(missing_modality_embeddings=True, ablate=["gate"])
    model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    content = json.loads(file.read_text())
    for new, old in (("missing_modality_embeddings", "stand_ins"), ("ablate", "without")):
        content[old] = content.pop(new)
    file.write_text(json.dumps(content))
    config = MMERConfig.from_pretrained(tmp_path)
    assert (config.missing_modality_embeddings, config.ablate) == (True, ["gate"])
    assert not hasattr(config, "stand_ins")
    loaded = MMERForEmotionRecognition.from_pretrained(tmp_path)
    assert loaded.missing_speech.equal(model.missing_speech)
