"""Recursive listing of files, including linked folders."""

import os
from collections.abc import Callable, Iterator

Unopened = Callable[[OSError], None]


def files_below(folder: str | os.PathLike[str], unopened: Unopened | None = None) -> Iterator[str]:
    """Walk through a folder and all its levels.

    Linked folders are searched too, each folder once. Files and folders whose names
    begin with a dot are skipped, and so is what macOS adds to archives.

    Args:
        folder: the folder, which may be a link.
        unopened: called with the error of each folder that cannot be opened.

    Yields:
        Paths beginning with `folder`, including broken links and pipes.
    """
    seen, places = set[str](), [os.fspath(folder)]
    while places:  # folders first and links afterwards, so that a folder keeps its own name
        links: list[str] = []
        for place in places:
            yield from _walked(place, seen, links, unopened)
        places = sorted(links)


def _walked(place: str, seen: set[str], links: list[str], unopened: Unopened | None) -> Iterator[str]:
    for here, folders, files in os.walk(place, onerror=unopened):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        links += [path for name in folders if os.path.islink(path := os.path.join(here, name))]
        yield from (os.path.join(here, name) for name in files if not name.startswith("."))
