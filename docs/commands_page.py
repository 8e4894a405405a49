"""Hook of mkdocs: the page of all commands, made of their own help when the site is built."""

from typing import Any

import typer.main
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

from mmer.cli.main import app


def on_files(files: Files, config: Any) -> Files:
    command: Any = typer.main.get_command(app)
    _say_all(command)
    text = get_docs_for_click(
        obj=command, ctx=command.make_context("mmer", [], resilient_parsing=True), name="mmer"
    )
    files.append(
        File.generated(config, "reference.md", content=text.replace("# `mmer`", "# All commands", 1))
    )
    return files


def _say_all(group: Any) -> None:
    """Lists of commands have the first sentence of each, which click cuts after 45 characters."""
    for command in group.commands.values():
        command.short_help = (command.help or "").partition("\n")[0]
        if hasattr(command, "commands"):
            _say_all(command)
