"""The file or folder whose path is most like one that does not exist, for error messages."""

from difflib import get_close_matches
from pathlib import Path


def nearest_path(path: Path) -> str:
    """Return `, the nearest is my-run/model` for a path that does not exist, or nothing if none is near."""
    try:
        found = Path(path.anchor)
        for part in path.relative_to(found).parts:
            if not (found / part).exists():
                names = [each.name for each in found.iterdir() if not each.name.startswith(".")]
                part = next(iter(get_close_matches(part, names, 1)), None)
                if part is None:
                    return ""
            found /= part
    except (OSError, ValueError):  # a file where a folder is named, or a folder that may not be read
        return ""
    return f", the nearest is {found}"
