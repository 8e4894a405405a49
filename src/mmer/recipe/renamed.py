"""Renamed settings, whose old names work in recipes, overrides and model folders."""

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from mmer.errors import RecipeError

RENAMED = {
    "model.stand_ins": "model.missing_modality_embeddings",
    "model.without": "model.ablate",
    "training.recompute": "training.activation_checkpointing",
}
"""Old to new dotted path; old and new are in the same section."""

_logger = logging.getLogger(__name__)


def rename(settings: Any, source: str, *, silent: bool = False) -> None:
    """Give settings of a recipe their new names, in place.

    Args:
        settings: content of the YAML of a recipe or an override.
        source: what messages call it.
        silent: log no line for each old name.

    Raises:
        RecipeError: a setting is given by both names.
    """
    for old, new in RENAMED.items():
        name, key = old.split(".")
        section = settings.get(name) if isinstance(settings, dict) else None
        if not isinstance(section, dict) or key not in section:
            continue
        if _last(new) in section:
            raise RecipeError(f"{source}: {old} is the old name of {new}, which is given too; keep {new}")
        # In its old place, so that a recipe is checked in the order in which it is written.
        renamed = {_last(new) if each == key else each: value for each, value in section.items()}
        section.clear()
        section.update(renamed)
        if not silent:
            _tell(source, old, new)


def rename_stored(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings in a file of a model folder their current names."""
    names = {_last(old): _last(new) for old, new in RENAMED.items()}
    return {names.get(name, name): value for name, value in settings.items()}


def _last(path: str) -> str:
    return path.rpartition(".")[2]


@lru_cache(maxsize=1000)
def _tell(source: str, old: str, new: str) -> None:
    """Log one line; once in a process, however often a recipe is read."""
    _logger.warning("%s: %s is now called %s; the old name still works", source, old, new)
