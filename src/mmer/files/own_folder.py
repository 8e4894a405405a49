"""Which folders a command may write to: new ones, empty ones, and those that the same command began."""

from collections.abc import Collection
from pathlib import Path

from mmer.errors import MMERError
from mmer.plain_text import one_line


def is_vacant(folder: Path) -> bool:
    """Tell whether a folder does not exist or holds nothing but hidden files, such as its lock."""
    return not folder.exists() or (folder.is_dir() and not _shown(folder))


def check_own_folder(
    folder: Path, what: str, mark: str | None = None, *, before: Collection[str] = ()
) -> None:
    """Check that a folder is vacant, or that this command began it.

    Args:
        folder: the folder to write to, which need not exist.
        what: what the command writes, as in "a report".
        mark: name of a file or folder by which the command knows its own work; None if it only writes to vacant
            folders.
        before: names of what it writes before that.

    Raises:
        MMERError: it is a file, or the folder holds something else.
    """
    if is_vacant(folder):
        return
    if not folder.is_dir():
        raise MMERError(f"{folder} is a file; use another folder")
    names = _shown(folder)
    if mark not in names and (others := sorted(names - set(before))):
        raise MMERError(
            f"{folder} is neither {what} nor an empty folder, it holds {one_line(others[0])}; use another folder"
        )


def _shown(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}
