"""Locks that allow one process at a time to write to a folder or a file."""

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


def _take(path: Path, *refusal: str | Function) -> FileLock:
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise MMERError(*refusal) from None
    return lock


@contextmanager
def only_file_writer(file: Path, shown: Path) -> Iterator[None]:
    """Lock a file while it is written.

    Args:
        file: the file, which need not exist.
        shown: what an error calls it.

    Raises:
        MMERError: another process has the lock.
        OSError: the folder of the file cannot be written to.
    """
    lock = _take(
        file.with_name(f".{file.name}{LOCK}"),
        f"{shown}: another process is writing it; wait for it, or name another file",
    )
    try:
        yield
    finally:
        with suppress(OSError):  # Windows does not remove open files
            Path(lock.lock_file).unlink()
        lock.release()


@contextmanager
def only_writer(folder: Path, function: str) -> Iterator[None]:
    """Lock a folder while it is read and changed.

    The folder is created if it does not exist, and removed again if nothing was written to it. With torchrun, the first
    process takes the lock for all.

    Args:
        folder: the folder to write to.
        function: name of the function that writes there.

    Raises:
        MMERError: another process has the lock, or the folder cannot be written to.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    existed = folder.exists()
    try:
        folder.resolve().mkdir(parents=True, exist_ok=True)  # also where a link leads to
        advice = " is writing there; wait for it, or use another folder"
        lock = _take(folder / LOCK, f"{folder}: another ", Function(function), advice)
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror or error
        raise MMERError(f"{folder} cannot be written to ({reason}); use another folder") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows does not remove open files
            (folder / LOCK).unlink()
            if not existed:
                folder.rmdir()
        lock.release()


def writes(name: str) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorate a function to hold `only_writer` of its argument `out`; where that is None, nothing is locked.

    Args:
        name: name of the function in errors.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        signature = inspect.signature(function)

        @wraps(function)
        def alone(*args: Parameters.args, **named: Parameters.kwargs) -> Result:
            out = signature.bind(*args, **named).arguments.get("out")
            if out is None:
                return function(*args, **named)
            with only_writer(Path(out).resolve(), name):
                return function(*args, **named)

        return alone

    return decorate
