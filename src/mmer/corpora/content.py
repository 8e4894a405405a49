"""Record of a corpus's content in a folder of results, which detects later changes of the corpus.

A folder keeps the rows of the corpus and, for each recording, its SHA-256. Later, the rows are compared value by value.
Like git, the check reads a recording again only if its size, its date or the date of its directory entry has changed,
so an unchanged corpus costs one `stat` per file. Copies are the same recording, whatever their names.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from mmer.corpora.corpus import Corpus
from mmer.corpora.tables import write_table
from mmer.errors import AudioError
from mmer.files.damaged import damaged_file
from mmer.files.regular import open_regular
from mmer.files.writing import writable, write_parquet
from mmer.plain_text import counted, valid

FOLDER = "content"
"""File name in the folder of results."""

_ROWS, _FILES = "rows.parquet", "files.parquet"
STATE = ("path", "size", "modified", "changed")
"""Columns of `file_states`."""
_THREADS, _PART = 8, 200
_SHOWN = 5
T = TypeVar("T")
Files = Mapping[str, Sequence[str | os.PathLike[str]]]
"""Other input files, by the setting that names them."""


def corpus_fingerprint(corpus: Corpus) -> str:
    """Hash the rows of a corpus and the bytes of its recordings, but not their paths; reads all recordings."""
    together = hashlib.sha256()
    digests = _sha256_of(_states(corpus, {}), None)
    table = corpus.table
    for name in sorted(set(table.columns) - {"audio_path"}):
        together.update(f"{name}\n".encode())
        together.update(
            repr([None if value is None else str(value) for value in _values(table[name])]).encode()
        )
    together.update(repr(_recordings(_absolute(corpus), digests)).encode())
    return together.hexdigest()


def keep_content(folder: Path, corpus: Corpus, files: Files | None = None) -> None:
    """Record the content of a corpus.

    Args:
        folder: folder of the results.
        corpus: the complete corpus, as read.
        files: other input files.
    """
    place = folder / FOLDER
    with writable(place):
        place.mkdir(parents=True, exist_ok=True)
    (place / _FILES).unlink(missing_ok=True)
    write_table(corpus.table.assign(audio_path=_absolute(corpus)), place / _ROWS)
    write_parquet(_sha256_of(_states(corpus, files or {}), None), place / _FILES)


def has_content(folder: Path) -> bool:
    """Tell whether `keep_content` was called, which earlier versions did not do."""
    return (folder / FOLDER / _FILES).is_file()


def content_changes(folder: Path, corpus: Corpus, files: Files | None = None) -> list[str]:
    """Describe the changes since `keep_content`, one phrase for each kind; empty if there are none.

    New columns are ignored, because the results did not use them.

    Args:
        folder, corpus, files: see `keep_content`.
    """
    place = folder / FOLDER
    with damaged_file(place, "use another folder"):
        before, kept = pd.read_parquet(place / _ROWS), pd.read_parquet(place / _FILES)
    now = _sha256_of(_states(corpus, files or {}), kept)
    changes = _row_changes(before, corpus.table)
    old = dict(zip(before["utterance_id"], _recordings(before["audio_path"], kept), strict=True))
    new = dict(zip(corpus.table["utterance_id"], _recordings(_absolute(corpus), now), strict=True))
    paths = dict(zip(corpus.table["utterance_id"], corpus.table["audio_path"], strict=True))
    others = dict.fromkeys(paths[name] for name, sha in new.items() if name in old and old[name] != sha)
    if others:
        changes.append(_told(counted(len(others), "recording"), list(others)))
    for setting in files or {}:
        mine, theirs = (set(table["sha256"][table["setting"] == setting]) for table in (kept, now))
        if mine != theirs:
            changes.append(f"the files of {setting}")
    return changes


def _row_changes(before: pd.DataFrame, now: pd.DataFrame) -> list[str]:
    before, now = before.set_index("utterance_id"), now.set_index("utterance_id")
    changes = []
    gone, new = before.index.difference(now.index), now.index.difference(before.index)
    for what, names in (("gone", gone), ("new", new)):
        if len(names):
            changes.append(_told(f"{counted(len(names), 'utterance', 'is', 'are')} {what}", names.tolist()))
    both = before.index.intersection(now.index, sort=False)
    for name in before.columns:
        if name == "audio_path":
            continue
        if name not in now:
            changes.append(f"the column {name} is gone")
            continue
        old, new_values = _values(before.loc[both, name]), _values(now.loc[both, name])
        rows = [row for row, pair in enumerate(zip(old, new_values, strict=True)) if pair[0] != pair[1]]
        if rows:
            first = rows[0]
            shown = f"{both[first]}: {old[first]!r} before, {new_values[first]!r} now"
            changes.append(f"{name} of {counted(len(rows), 'utterance')} (first {shown})")
    return changes


def _values(column: pd.Series) -> list[object]:
    """Convert values so that equal ones compare equal whatever file format they come from."""
    nulls = column.isna()
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return [None if null else float(value) for value, null in zip(column.tolist(), nulls, strict=True)]
    return [
        None if null or isinstance(value, list | dict | np.ndarray) else str(value)
        for value, null in zip(column.tolist(), nulls, strict=True)
    ]


def _told(what: str, names: Sequence[str]) -> str:
    more = ", …" if len(names) > _SHOWN else ""
    return f"{what} ({', '.join(names[:_SHOWN])}{more})"


def _absolute(corpus: Corpus) -> pd.Series:
    """Return the path of each utterance's recording, None where there is none."""
    paths = corpus.table["audio_path"]
    absolute = {path: os.path.abspath(path) for path in paths.dropna().unique()}
    return paths.map(absolute).astype(object).where(paths.notna(), None)


def _recordings(paths: pd.Series, files: pd.DataFrame) -> list[str | None]:
    """Return the SHA-256 of each utterance's recording; None where there is none."""
    digests = dict(zip(files["path"], files["sha256"], strict=True))
    return [digests.get(path) for path in paths.tolist()]


def _states(corpus: Corpus, files: Files) -> pd.DataFrame:
    """Return `file_states` of the recordings and of the other files, with the setting that names them."""
    named = dict.fromkeys(_absolute(corpus).dropna(), "")
    for setting, paths in files.items():
        named |= {os.path.abspath(path): setting for path in _all_files(paths)}
    return file_states(list(named)).assign(setting=list(named.values()))


def file_states(paths: Sequence[str]) -> pd.DataFrame:
    """Return metadata that identify the state of each file without reading it.

    Returns:
        A row for each file: `path`, as `valid` gives it, `size` in bytes, `modified` and `changed` in nanoseconds, -1
        where there is none.
    """
    states = list(_in_threads(_state, paths))
    table = pd.DataFrame(states, columns=list(STATE[1:]), dtype=np.int64)
    table.insert(0, "path", list(map(valid, paths)))
    return table


def _all_files(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return the files, and those in the folders."""
    found: list[str] = []
    for path in paths:
        inside = (
            sorted(str(each) for each in Path(path).rglob("*") if each.is_file())
            if os.path.isdir(path)
            else None
        )
        found += [os.fspath(path)] if inside is None else inside
    return found


def _state(path: str) -> tuple[int, int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1, -1
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _sha256_of(states: pd.DataFrame, known: pd.DataFrame | None) -> pd.DataFrame:
    """Add the SHA-256 of each file to its state, from `known` where the state is unchanged."""
    key = list(STATE)
    before = (
        {}
        if known is None
        else dict(zip(known[key].itertuples(index=False, name=None), known["sha256"], strict=True))
    )
    digests = [before.get(state) for state in states[key].itertuples(index=False, name=None)]
    todo = [row for row, digest in enumerate(digests) if digest is None]
    for row, digest in zip(todo, _in_threads(file_sha256, states["path"].iloc[todo].tolist()), strict=True):
        digests[row] = digest
    return states.assign(sha256=pd.Series(digests, index=states.index, dtype=object))


def _in_threads(function: Callable[[str], T], paths: Sequence[str]) -> Iterator[T]:
    """Map over paths in threads, in order; a task handles many paths, because it costs more than one `stat`."""
    parts = [paths[start : start + _PART] for start in range(0, len(paths), _PART)]
    with ThreadPoolExecutor(_THREADS) as threads:
        for results in threads.map(lambda part: [function(path) for path in part], parts):
            yield from results


def files_sha256(paths: Iterable[str]) -> dict[str, str]:
    """Compute `file_sha256` of each of several files, by its path."""
    once = list(dict.fromkeys(paths))
    with ThreadPoolExecutor() as threads:
        return dict(zip(once, threads.map(file_sha256, once), strict=True))


def file_sha256(path: str) -> str:
    """Return the SHA-256 of a file; the empty text where it cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, AudioError):
        return ""
