"""One process at a time in a folder that is written over a long time."""

from pathlib import Path

from filelock import FileLock, Timeout

from mmer.errors import MMERError

LOCK = ".lock"


def take_lock(folder: Path, command: str) -> FileLock:
    """Keep other processes out of a folder, until the lock is released or this process ends.

    Args:
        folder: which exists.
        command: that writes there, as errors call it.

    Raises:
        MMERError: another process has the lock.
        OSError: the folder cannot be written to.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise MMERError(
            f"{folder}: another {command} is writing there; wait for it, or use another folder"
        ) from None
    return lock
