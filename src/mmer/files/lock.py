"""One process at a time in a folder that is written to."""

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from filelock import FileLock, Timeout

from mmer.errors import Function, MMERError

LOCK = ".lock"
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def take_lock(folder: Path, function: str) -> FileLock:
    """Keep other processes out of a folder, until the lock is released or this process ends.

    Args:
        folder: which exists.
        function: name of the one that writes there.

    Raises:
        MMERError: another process has the lock.
        OSError: the folder cannot be written to.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise MMERError(
            f"{folder}: another ", Function(function), " is writing there; wait for it, or use another folder"
        ) from None
    return lock


@contextmanager
def only_writer(folder: Path, function: str) -> Iterator[None]:
    """Be the only process that reads and changes a folder, from the first look at it to the last file.

    The folder is made if it does not exist, and removed again if nothing was written to it. Of the processes of one
    torchrun, the first takes the lock for all.

    Args:
        folder: to write to.
        function: name of the one that writes there.

    Raises:
        MMERError: another process writes there, or nothing can be written there.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = take_lock(folder, function)
    except OSError as error:
        raise MMERError(
            f"{folder} cannot be written to ({error.strerror or error}); use another folder"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            (folder / LOCK).unlink()
            if not existed:
                folder.rmdir()
        lock.release()


def writes(
    name: str, folder: str = "out"
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Have a function be the `only_writer` of a folder.

    Args:
        name: of the function, for errors.
        folder: its argument that names the folder; where that is None, nothing is locked.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        signature = inspect.signature(function)

        @wraps(function)
        def alone(*args: Parameters.args, **named: Parameters.kwargs) -> Result:
            out = signature.bind(*args, **named).arguments.get(folder)
            if out is None:
                return function(*args, **named)
            with only_writer(Path(out).resolve(), name):
                return function(*args, **named)

        return alone

    return decorate


def is_vacant(folder: Path) -> bool:
    """Whether a folder does not exist, or holds nothing but its lock."""
    return not folder.exists() or (folder.is_dir() and all(entry.name == LOCK for entry in folder.iterdir()))
