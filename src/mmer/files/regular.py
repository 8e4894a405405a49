"""Open what a user names: files that hold data, never a pipe or a device, which would be waited for without end."""

import os
import stat
from io import FileIO

from mmer.errors import AudioError, MMERError


def check_regular(path: str | os.PathLike[str], kind: type[MMERError] = AudioError) -> os.stat_result:
    """Find out, without opening it, whether a path leads to a file that can be read to its end.

    Args:
        path: of what is to be read.
        kind: of the error.

    Returns:
        What the system says about the file.

    Raises:
        MMERError: of that kind; there is no such file, or it is a folder, a pipe, a device, or a socket.
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
    """Refuse a path that leads to a pipe, a device or a socket, without opening it; all else is left to the reader.

    Raises:
        MMERError: of that kind; it does.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        what = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise kind(f"{path}: is {what}, not a file; write what it gives to a file first")


def open_regular(path: str | os.PathLike[str], kind: type[MMERError] = AudioError) -> FileIO:
    """Open a file for reading, unbuffered.

    Raises:
        MMERError: as `check_regular`, or the file is empty or cannot be opened.
    """
    if not check_regular(path, kind).st_size:  # so are the files of /proc, some of which wait for what comes
        raise kind(f"{path}: is empty (0 bytes)")
    try:
        return FileIO(path)
    except OSError as error:
        raise kind(f"{path}: cannot be read ({error.strerror})") from None
