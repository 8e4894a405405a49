"""Consoles of tests."""

import io

from rich.console import Console


def quiet() -> Console:
    """Return a console that keeps to itself what it is told, and breaks no line of it."""
    return Console(file=io.StringIO(), width=200)


def told_by(console: Console) -> str:
    """Return what a console of `quiet` was told, in one line."""
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())
