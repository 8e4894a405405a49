"""Opening of regular files only, because reading a pipe or a device may block forever."""

import os
import stat
from io import FileIO

from mmer.errors import AudioError, MMERError


def check_regular(path: str | os.PathLike[str], kind: type[MMERError] = AudioError) -> os.stat_result:
    """Check, without opening it, that a path leads to a regular file.

    Args:
        path: path of the file.
        kind: class of the error.

    Returns:
        The `stat` of the file.

    Raises:
        MMERError: of class `kind`; the file does not exist, or is a folder, a pipe, a device or a socket.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise kind(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character or half a surrogate
        reason = error.strerror if isinstance(error, OSError) else error
        raise kind(f"{path}: cannot be read ({reason})") from None
    if stat.S_ISDIR(status.st_mode):
        raise kind(f"{path}: is a folder; give a file")
    refuse_special(path, kind)
    return status


def refuse_special(path: str | os.PathLike[str], kind: type[MMERError]) -> None:
    """Check, without opening it, that a path leads to no pipe, device or socket.

    Raises:
        MMERError: of class `kind`; it does.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        what = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise kind(f"{path}: is {what}, not a file; write what it gives to a file first")


def open_regular(path: str | os.PathLike[str]) -> FileIO:
    """Open a file for reading, unbuffered.

    Raises:
        AudioError: `check_regular` raises it, or the file is empty or cannot be opened.
    """
    if not check_regular(path).st_size:  # so are the files of /proc, some of which block
        raise AudioError(f"{path}: is empty (0 bytes)")
    try:
        return FileIO(path)
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from None
