"""Atomic writing of files, checked before the work starts, and never over an input."""

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from io import StringIO
from pathlib import Path
from secrets import token_hex
from typing import IO, TYPE_CHECKING, Any

from mmer.errors import MMERError
from mmer.files.lock import LOCK, only_file_writer
from mmer.plain_text import json_text

if TYPE_CHECKING:
    import pandas as pd

TABLES = (".parquet", ".csv", ".tsv", ".jsonl")
"""What the names of tables end in, those of a corpus and those of predictions."""
PART = ".part"
"""Suffix of a file while it is being written."""

_LONGEST = 255  # longest file name in bytes on most file systems
_RUST = re.compile(r"\(os error (\d+)\)")
"""Form in which safetensors and tokenizers report errors of the system."""
_PYTORCH = re.compile(r"inline_container\.cc|PytorchStreamWriter")
"""Message of torch.save, without a reason, for a failed write."""

Paths = str | os.PathLike[str]


@contextmanager
def writing(path: Paths, *, keep: bool = False) -> Iterator[Path]:
    """Write a file atomically.

    An exception or interruption removes the unfinished file and leaves the previous one at `path`.

    Args:
        path: the file. The target of a link is replaced; a device or a pipe is written to directly.
        keep: keep an unfinished file, under a name derived from `path`, which one process at a time may write to.

    Yields:
        The path to write to, in the same folder.

    Raises:
        MMERError: the file cannot be written, or, with `keep`, another process is writing it.
    """
    with writable(path):
        path = Path(path)
        found = _status(path)
        if found is not None and _is_device(path, found):
            yield path
            return
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        if not target.parent.is_dir():
            raise _without_folder(target.parent, path)
        named = keep and len(os.fsencode(target.name)) <= _LONGEST - len(f".{PART}{LOCK}")
        name = f"{target.name}{PART}" if named else f".{target.name[:50]}.{token_hex(4)}{PART}"
        part = target.with_name(name)
        try:
            with only_file_writer(part, path) if named else nullcontext():
                yield part
                if found is not None:
                    shutil.copymode(target, part)
                with open(part, "rb") as file:
                    # A power failure may otherwise leave an empty file under the new name.
                    os.fsync(file.fileno())
                part.replace(target)
        finally:
            if not keep:
                with suppress(OSError):
                    part.unlink(missing_ok=True)


@contextmanager
def writing_folder(path: Paths) -> Iterator[Path]:
    """Write several files into a folder, all of them or none.

    An exception or interruption removes the unfinished files and leaves the folder as it was.

    Args:
        path: the folder, created if it does not exist. Other files in it stay.

    Yields:
        An empty folder on the same disk to write to, from which files are moved at the end.

    Raises:
        MMERError: a file cannot be written.
    """
    with writable(path):
        folder = Path(os.path.realpath(path))
        existed = folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{token_hex(4)}{PART}"
        try:
            part.mkdir()
            yield part
            for file in sorted(part.iterdir()):
                if file.is_file():
                    with open(file, "rb") as content:
                        os.fsync(content.fileno())
                    file.chmod(part.stat().st_mode & 0o666)  # safetensors lets only the owner read weights
                    file.replace(folder / file.name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            if not existed:
                with suppress(OSError):  # it is not empty
                    folder.rmdir()


@contextmanager
def writable(path: Paths) -> Iterator[None]:
    """Turn a failed write to `path`, from whatever library, into an error of one line.

    Raises:
        MMERError: writing failed; the message gives the reason.
    """
    try:
        yield
    except OSError as error:
        # strerror of pyarrow's errors names the temporary file.
        reason = os.strerror(error.errno) if error.errno else error.strerror or str(error)
        raise MMERError(f"{os.fspath(path)}: cannot be written ({reason})") from error
    except MMERError:
        raise
    except Exception as error:  # libraries that write weights and tokenizers do not raise OSError
        if found := _RUST.search(str(error)):
            reason = os.strerror(int(found[1]))
        elif _PYTORCH.search(str(error)):
            reason = "is the disk full?"
        else:
            raise
        raise MMERError(f"{os.fspath(path)}: cannot be written ({reason})") from error


def _without_folder(folder: Path, path: Path) -> MMERError:
    what = f"{folder} is a file" if folder.exists() else f"there is no folder {folder}"
    return MMERError(f"{path}: cannot be written, {what}")


def write_text(path: Paths, text: str) -> None:
    """Write text in UTF-8, as `writing` does."""
    with open_text(path) as file:
        file.write(text)


def write_bytes(path: Paths, content: bytes) -> None:
    """Write bytes, as `writing` does."""
    with writing(path) as part:
        part.write_bytes(content)


def write_json(path: Paths, content: Any, *, indent: int | None = 2) -> None:
    """Write JSON in UTF-8, as `writing` does."""
    write_text(path, json_text(content, indent=indent, allow_nan=True) + "\n")


def write_parquet(table: "pd.DataFrame", path: Paths) -> None:
    """Write a table as Parquet without its index, as `writing` does."""
    with writing(path) as part:
        table.to_parquet(part, index=False)


def write_csv(table: "pd.DataFrame", path: Paths) -> None:
    """Write a table as CSV, see `csv_text`, as `writing` does."""
    write_text(path, csv_text(table))


def csv_text(table: "pd.DataFrame") -> str:
    """Give a table as CSV without its index, whose lines end in line feeds."""
    lines = _Lines()
    # Before Python 3.13, `csv` quotes a cell with a carriage return only where lines end in one.
    table.to_csv(lines, index=False, lineterminator="\r\n")
    return lines.getvalue()


class _Lines(StringIO):
    """Text of which `csv` writes one line at a time."""

    def write(self, line: str) -> int:
        return super().write(line.removesuffix("\r\n") + "\n")


def is_part(path: Path) -> bool:
    """Tell whether a file is a remnant of `writing` in a killed process."""
    return path.name.startswith(".") and path.name.endswith(PART)


@contextmanager
def open_text(path: Paths) -> Iterator[IO[str]]:
    """Open a file for UTF-8 text with unchanged line ends, as `writing` does."""
    with writing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        yield file


def check_output_file(path: Paths, inputs: Iterable[Paths] = ()) -> None:
    """Check in advance whether a file can be written.

    Args:
        path: the file.
        inputs: files that are read, and must not be overwritten.

    Raises:
        MMERError: the folder does not exist, a folder is in the file's place, permission is denied, or the file is an
            input.
    """
    path = Path(path)
    with writable(path):
        found, above = _status(path), _status(path.parent)
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise MMERError(f"{path}: cannot be written, a folder is there; name a file")
        if found is not None and _is_device(path, found):
            if stat.S_ISCHR(found.st_mode):
                with open(path, "wb", buffering=0) as device:
                    if not device.isatty():
                        device.write(b"\n")  # /dev/full reports it
            return
        if above is None or not stat.S_ISDIR(above.st_mode):
            raise _without_folder(path.parent, path)
        check_not_input(path, inputs)
        target = Path(os.path.realpath(path))
        if not target.parent.is_dir():
            raise _without_folder(target.parent, path)
        if found is not None:
            with open(target, "r+b"):  # a replacement would ignore that it is read-only
                pass
        _try(target.parent)


def check_output_folder(path: Paths, inputs: Collection[Paths] = (), *, files: Iterable[str] = ()) -> None:
    """Check in advance whether files can be written into a folder, which need not exist.

    Args:
        path: the folder.
        inputs: files that are read, and must not be overwritten.
        files: names of files to be written there.

    Raises:
        MMERError: a file is in the place of the folder or of one above it, permission is denied, or one of `files` is
            an input.
    """
    path = Path(path)
    with writable(path):
        nearest = Path(os.path.abspath(path))
        while (found := _status(nearest)) is None:
            nearest = nearest.parent
        if not stat.S_ISDIR(found.st_mode):
            raise MMERError(f"{path}: cannot be written, {nearest} is a file; name a folder elsewhere")
        _try(nearest)
    for name in files:
        check_not_input(path / name, inputs)


def check_not_input(path: Paths, inputs: Iterable[Paths]) -> None:
    """Check that a file to write is not an input.

    Args:
        path: the file to write; links, hard links and other spellings of an input are recognized.
        inputs: files, and folders whose files must not be overwritten.

    Raises:
        MMERError: `path` is one of them.
    """
    found = _status(Path(path))
    if found is None:
        return
    for each in _files(inputs):
        other = _status(each)
        if other is not None and os.path.samestat(found, other):
            raise MMERError(f"{os.fspath(path)}: is an input, {each}; write to another file")


def check_different(paths: Iterable[Paths]) -> None:
    """Check that files are written to different paths.

    Raises:
        MMERError: two of the paths are the same file.
    """
    before: dict[object, Paths] = {}
    for path in paths:
        found = _status(Path(path))
        same = os.path.realpath(path) if found is None else (found.st_dev, found.st_ino)
        if same in before:
            raise MMERError(f"{os.fspath(path)}: is to be written twice, as {os.fspath(before[same])} too")
        before[same] = path


def _files(inputs: Iterable[Paths]) -> Iterator[Path]:
    for each in map(Path, inputs):
        if each.is_dir():
            yield from (file for file in each.rglob("*") if file.is_file())
        else:
            yield each


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_device(path: Path, found: os.stat_result) -> bool:
    """Tell whether a path is written to directly, as devices and /dev/stdout are; files in /dev/shm are not."""
    in_dev = path.is_relative_to("/dev") and not path.is_relative_to("/dev/shm")
    return not stat.S_ISREG(found.st_mode) or in_dev


def _try(folder: Path) -> None:
    """Write a byte into a folder.

    Raises:
        OSError: writing failed.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\0")
        file.flush()
