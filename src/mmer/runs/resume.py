"""Whether the same command goes on in a folder: it does where the request is the one that the folder was begun with."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmer.errors import MMERError


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], called: Mapping[str, str] | None = None
) -> list[str]:
    """Compare two requests.

    Args:
        before: what a folder was begun with.
        now: what is asked for; what it does not name is not compared.
        called: how errors call a setting, where they do not call it by its name.

    Returns:
        The settings that differ, each once, in the order of `now`.
    """
    called = called or {}
    different = (name for name, value in now.items() if before.get(name) != value)
    return list(dict.fromkeys(called.get(name, name) for name in different))


def refuse_other(
    folder: Path, found: str, different: Iterable[str], error: type[MMERError] = MMERError
) -> None:
    """Refuse to go on in a folder that another request began.

    Args:
        folder: which was begun.
        found: what is there, as in `holds a run of another recipe`.
        different: the settings that differ.
        error: the kind of error.

    Raises:
        MMERError: of that kind; a setting differs.
    """
    if told := ", ".join(different):
        raise error(f"{folder}: {found}, different in {told}; use another folder")
