"""Parsing of untrusted files: any error becomes one line that names the file."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmer.errors import CheckpointError, MMERError
from mmer.plain_text import shown

_LONGEST = 300  # most characters of a parser's own message
_POINTER = b"version https://git-lfs.github.com/spec/v1"
MADE_AGAIN = "delete it, and the same command makes it again"
"""Advice for a file that a command keeps for itself."""
LARGEST_JSON = 64_000_000  # bytes; configurations have a few thousand


def message_of(error: BaseException) -> str:
    """Return an error's message on one line, safe to show."""
    return shown(" ".join(str(error).split())) or type(error).__name__


@contextmanager
def damaged_file(path: Path, advice: str = "ask for another copy") -> Iterator[None]:
    """Turn any exception during parsing into one error that names the file.

    Args:
        path: path of the file, or of the folder where the file at fault is unknown.
        advice: end of the message, which says what to do.

    Raises:
        CheckpointError: the file is damaged, or is a Git LFS pointer.
    """
    try:
        check_no_pointer(path)
        yield
    except (MMERError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        # parsers' errors have no common base, and a Rust panic is not an Exception
        said = message_of(error)
        said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
        kind = type(error).__name__
        reason = said if said == kind else f"{kind}: {said}"
        raise CheckpointError(f"{path} cannot be read, it may be damaged ({reason}); {advice}") from error


def check_no_pointer(path: Path) -> None:
    """Refuse Git LFS pointers.

    Raises:
        CheckpointError: the file is such a pointer.
    """
    if path.is_file() and is_pointer(path):
        raise CheckpointError(
            f"{path} is a Git LFS pointer, not the file itself; fetch it with: git lfs pull"
        )


def is_pointer(path: Path) -> bool:
    """Tell whether a file is a Git LFS pointer, which has at most 1024 bytes."""
    if path.stat().st_size > 1024:
        return False
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def read_json_object(path: Path, advice: str = "ask for another copy") -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        CheckpointError: the file is damaged, holds something else or is larger than 64 MB.
    """
    with damaged_file(path, advice):
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"it has more than {LARGEST_JSON // 10**6} MB")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}, not a JSON object")
    return content
