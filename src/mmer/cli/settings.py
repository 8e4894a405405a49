"""Settings of commands, written as NAME=VALUE: their kinds, their listing and their completion."""

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import typer

from mmer.display.terminal import results

if TYPE_CHECKING:
    from pydantic import BaseModel

    from mmer.recipe.parsing import Setting

_RECIPE = ("mmer.recipe.schema", "Recipe")
_KINDS = {
    "ablate": _RECIPE,
    "adapt": _RECIPE,
    "augment": ("mmer.augment.settings", "AugmentSettings"),
    "crossval": _RECIPE,
    "serve": ("mmer.serving.settings", "ServeSettings"),
    "train": _RECIPE,
}


def settings_kind(command: str) -> "type[BaseModel] | None":
    """Return the kind of settings of a command; None for a command without settings."""
    if command not in _KINDS:
        return None
    module, name = _KINDS[command]
    return getattr(import_module(module), name)


def print_settings(kind: "type[BaseModel]", values: "BaseModel | None" = None) -> None:
    """Print every setting with its meaning.

    Args:
        kind: the kind of settings.
        values: values of a recipe, shown with the defaults they differ from; None to show the defaults.
    """
    from rich.padding import Padding
    from rich.text import Text

    from mmer.recipe import parsing

    console = results()
    found = dict(parsing.values(values)) if values else {}
    for setting in parsing.list_settings(kind):
        value = parsing.written(found[setting.name]) if values else setting.default
        default = "" if value == setting.default else f"  (default: {setting.default})"
        console.print(Text(f"{setting.name}={value}", style="bold") + Text(default), soft_wrap=True)
        choices = f" One of {', '.join(setting.choices)}." if len(setting.choices) > 1 else ""
        console.print(Padding(Text(setting.meaning + choices), (0, 0, 0, 4)))


def show_settings(command: str) -> None:
    """Print the settings of a command below its help, except the many settings of a recipe."""
    kind = settings_kind(command)
    if kind is not None and _KINDS[command] is not _RECIPE:
        results().print("Settings, each as NAME=VALUE, with their defaults:")
        print_settings(kind)


def complete_setting(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Complete an unfinished NAME=VALUE."""
    kind = settings_kind(ctx.info_name or "")
    if kind is None:
        return
    from mmer.recipe.parsing import list_settings

    # bash splits NAME=VALUE into three words and replaces only the last.
    before = ctx.params.get("overrides") or ctx.params.get("settings") or []
    if len(before) > 1 and before[-1] == "=":
        name, value, written = before[-2], incomplete, ""
    elif "=" in incomplete:
        name, _, value = incomplete.partition("=")
        written = f"{name}="
    else:
        found = [each for each in list_settings(kind) if each.name.startswith(incomplete)]
        yield from _completed(found[0]) if len(found) == 1 else (f"{each.name}=" for each in found)
        return
    for setting in list_settings(kind):
        if setting.name == name:
            yield from (f"{written}{choice}" for choice in setting.choices if choice.startswith(value))


def _completed(setting: "Setting") -> list[str]:
    """Return a setting with more than one continuation, so that a shell adds no space after its equals sign."""
    if len(setting.choices) > 1:
        return [f"{setting.name}={choice}" for choice in setting.choices]
    return [f"{setting.name}=", f"{setting.name}={setting.default}"]


def complete_recipe(incomplete: str) -> list[str]:
    """Complete the name of a recipe or of a .yaml file."""
    from glob import escape, glob

    from mmer.recipes import recipe_names

    files = [*glob(f"{escape(incomplete)}*.yaml"), *glob(f"{escape(incomplete)}*/")]
    return [*(name for name in recipe_names() if name.startswith(incomplete)), *sorted(files)]
