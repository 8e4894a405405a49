"""A recipe: nested, validated settings of one training run.

A recipe is a YAML file with the sections `data`, `protocol`, `model`, `objectives`, `augment` and `training`.
Settings that it leaves out have the defaults of their section. An unknown key or a value that is not allowed raises a
`RecipeError` of one line that names the place.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import model_validator

from mmer.recipe.augmentation import Augment
from mmer.recipe.data import Data, Protocol
from mmer.recipe.errors import contradiction
from mmer.recipe.model import Model
from mmer.recipe.parsing import read_settings, values
from mmer.recipe.training import RUN_SETTINGS, Objectives, Training
from mmer.recipe.values import LAST_LAYERS, Section
from mmer.recipes import read_recipe


class Recipe(Section):
    """Complete settings of one training run; `load_recipe` reads them from a file."""

    data: Data = Data()
    """The training data."""
    protocol: Protocol = Protocol()
    """The split, and the choice of the epoch."""
    model: Model = Model()
    """The network."""
    objectives: Objectives = Objectives()
    """The loss."""
    augment: Augment = Augment()
    """Augmentation in training."""
    training: Training = Training()
    """Optimization."""

    @model_validator(mode="after")
    def _starts(self) -> Self:
        if self.model.start_from is None:
            for name, value in (
                ("data.rehearsal", self.data.rehearsal),
                ("training.average_with_start", self.training.average_with_start),
            ):
                if value:
                    raise contradiction(
                        f"{name} is set, but model.start_from is null, so there is nothing that could be forgotten",
                        f"leave {name} out, or set model.start_from",
                    )
        return self

    @property
    def missing_modality_embeddings(self) -> bool:
        """Tell whether the network learns an embedding for a missing recording and one for a missing transcript."""
        drops = self.augment.missing
        return self.model.fusion in ("mmer", "naive", "auto") and (
            self.model.missing_modality_embeddings or drops.speech > 0 or drops.text > 0
        )

    @property
    def freezes_sound(self) -> bool:
        """Tell whether layers of the speech encoder that stay as they are read the sound."""
        train = self.model.speech.train
        return train == "frozen" or LAST_LAYERS.fullmatch(train) is not None

    @property
    def stores_variants(self) -> bool:
        """Tell whether the sound of second views is one of `augment.speech.variants`."""
        return self.freezes_sound and self.augment.speech.variants > 0

    @property
    def changes_second_sound(self) -> bool:
        """Tell whether second views that are made on the fly change the sound."""
        augment = self.augment
        on_the_fly = augment.views is None or augment.views_use == "beside"
        changes = augment.speech.probability > 0 and (not self.freezes_sound or self.stores_variants)
        return on_the_fly and changes and self.objectives.augmented_contrastive_weight > 0

    def dump(self) -> str:
        """Write the complete recipe as YAML, defaults included; `load_recipe` reads an equal recipe from it."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def differences(self, other: "Recipe") -> list[str]:
        """List the dotted paths of settings that differ from those of `other` and change the results of a run."""
        mine, theirs = dict(values(self.run_as(other))), dict(values(other))
        return [path for path, value in mine.items() if theirs[path] != value]

    def run_as(self, other: "Recipe") -> "Recipe":
        """Copy this recipe with the `RUN_SETTINGS` of another one."""
        settings = {name: getattr(other.training, name) for name in RUN_SETTINGS}
        return self.with_settings(training=settings)

    def with_settings(self, **sections: Mapping[str, Any]) -> "Recipe":
        """Copy this recipe with other settings in some of its sections, which are not checked."""
        changed = {name: getattr(self, name).model_copy(update=new) for name, new in sections.items()}
        return self.model_copy(update=changed)


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe that ships with the package or a YAML file.

    Args:
        name_or_path: a name of `recipe_names()`, or the path of a YAML file with the same sections.
        overrides: settings as `a.b=c`, later ones winning. `c` is what is written, so that a path or a name may hold
            anything; for a list, items with commas between them, as `protocol.test=F01,M02` or `[F01, M02]`, of which
            one with a comma is in quotation marks; for a section or a mapping, YAML.

    Text is never a number, a date, true, false or null but for a setting that is such. A setting by the name that it
    had before (`RENAMED`) is taken, and a line in the log gives the new name.

    Raises:
        RecipeError: no such recipe, not YAML, an unknown key, or a value that is not allowed; says where.
    """
    return _load(*read_recipe(name_or_path), overrides)


def changed_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return a recipe with settings changed, as `load_recipe` takes them.

    Raises:
        RecipeError: as for `load_recipe`.
    """
    return _load("recipe", recipe.dump(), overrides)


def load_run_recipe(folder: Path) -> Recipe:
    """Load the `recipe.yaml` of a run folder; old names of settings are accepted silently.

    Raises:
        RecipeError: as for `load_recipe`.
    """
    return _load(*read_recipe(str(folder / "recipe.yaml")), silent=True)


def _load(source: str, text: str, overrides: Sequence[str] = (), *, silent: bool = False) -> Recipe:
    named = [(f"override {override[:200]!r}", override) for override in overrides]
    return read_settings(Recipe, text, source, named, silent=silent)
