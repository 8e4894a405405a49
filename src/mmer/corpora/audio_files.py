"""Lookup of the files that a table names, tolerant of other spellings on disk."""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from mmer.plain_text import counted
from mmer.text.names import folded


def files_on_disk(paths: Sequence[str | None], folder: Path) -> tuple[list[str | None], list[str]]:
    """Find the files that a table names.

    macOS and its archives write accents in another Unicode form than tables, Windows ignores case and separates folders
    with a backslash, and a cell may end in a blank.

    Args:
        paths: paths in the table, relative to `folder`; None for an utterance without sound.
        folder: folder of the table.

    Returns:
        The path of each, and a note where some have another name on disk. A path stays unchanged where no file or
        several files match.
    """
    listings: dict[str, dict[str, list[str]]] = {}
    found: dict[str, str] = {}
    renamed: list[str] = []
    for path in dict.fromkeys(path for path in paths if path is not None):
        found[path] = os.path.join(folder, path)
        if not os.path.exists(found[path]) and (other := _other_name(folder, path, listings)):
            found[path] = other
            renamed.append(path)
    notes = []
    if renamed:
        example = f"{renamed[0]} is {os.path.basename(found[renamed[0]])}"
        notes.append(
            f"{counted(len(renamed), 'recording', 'has', 'have')} another name on disk, which differs in case, "
            "blanks or Unicode form; "
            f"the first: {example}"
        )
    return [None if path is None else found[path] for path in paths], notes


def _other_name(folder: Path, path: str, listings: dict[str, dict[str, list[str]]]) -> str | None:
    """Find the only file that matches this name, part by part; None where there is none or several."""
    place = str(folder)
    if os.path.isabs(path):
        place, path = os.path.splitdrive(path)[0] + os.sep, os.path.splitdrive(path)[1]
    for part in re.split(r"[/\\]", path):
        if part in ("", ".", ".."):
            place = os.path.join(place, part)
            continue
        if not os.path.exists(os.path.join(place, part)):
            names = _listed(place, listings).get(folded(part), [])
            if len(names) != 1:
                return None
            part = names[0]
        place = os.path.join(place, part)
    return place


def _listed(place: str, listings: dict[str, dict[str, list[str]]]) -> dict[str, list[str]]:
    """List a folder, by the folded form of names."""
    if place not in listings:
        listings[place] = defaultdict(list)
        try:
            for name in os.listdir(place):
                listings[place][folded(name)].append(name)
        except OSError:  # not a readable folder
            pass
    return listings[place]
