"""Decision whether a command may resume a folder: the request must equal the one that began it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmer.errors import MMERError, Parameter

Name = str | tuple[str | Parameter, ...]
"""Name of a setting in an error, whole or in the pieces of an `MMERError`."""


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], called: Mapping[str, Name] | None = None
) -> list[Name]:
    """Compare two requests.

    Args:
        before: the request that began a folder.
        now: the current request; settings that it does not name are not compared.
        called: names of settings in errors, where they differ.

    Returns:
        The settings that differ, each once, in the order of `now`.
    """
    called = called or {}
    different = (name for name, value in now.items() if before.get(name) != value)
    return list(dict.fromkeys(called.get(name, name) for name in different))


def refuse_other(
    folder: Path, found: str, different: Iterable[Name], error: type[MMERError] = MMERError
) -> None:
    """Raise an error if another request began a folder.

    Args:
        folder: which was begun.
        found: what is there, as in `holds a run of another recipe`.
        different: names of the settings that differ.
        error: the kind of error.

    Raises:
        MMERError: of that kind; a setting differs.
    """
    pieces: list[str | Parameter] = []
    for name in different:
        pieces += [", ", *((name,) if isinstance(name, str) else name)]
    if pieces:
        raise error(f"{folder}: {found}, different in ", *pieces[1:], "; use another folder")
