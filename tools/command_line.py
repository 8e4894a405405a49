"""The size of the command line: `python tools/command_line.py` prints its commands, options and recipe keys."""

from collections.abc import Iterator
from typing import Any

import typer.main

from mmer.cli.main import app
from mmer.recipe.parsing import list_settings
from mmer.recipe.schema import Recipe


def commands() -> Iterator[tuple[str, Any]]:
    """Each command, as `corpus audit`, with what click knows of it; groups are none."""
    yield from _below((), typer.main.get_command(app))


def options(command: Any) -> list[str]:
    """Options that the help of a command or a group shows, without `--help`."""
    return [
        max(parameter.opts, key=len)
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.hidden
    ]


def _below(path: tuple[str, ...], command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield " ".join(path), command
        return
    for name, each in command.commands.items():
        yield from _below((*path, name), each)


def main() -> None:
    found = dict(commands())
    everywhere = options(typer.main.get_command(app))
    named = [option for command in found.values() for option in options(command)]
    for name, command in found.items():
        print(f"{name:<18}{len(options(command)):>3}")
    print(
        f"{len(found)} commands, {len(named) + len(everywhere)} options with {len({*named, *everywhere})} names, "
        f"{sum(1 for _ in list_settings(Recipe))} recipe keys"
    )


if __name__ == "__main__":
    main()
