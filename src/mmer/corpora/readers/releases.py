"""Helpers of readers of label files: files and tables of the unpacked release, and the corpus made from them."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from mmer.corpora.corpus import Corpus, Progress, listing
from mmer.corpora.delimited import read_delimited
from mmer.corpora.folders import files_below
from mmer.corpora.readers.catalog import CATALOG, compare_counts
from mmer.corpora.tables import Row
from mmer.errors import CorpusError, reading
from mmer.files.regular import refuse_special
from mmer.plain_text import counted

COPIES = "recordings are there more than once, further copies are left out"
"""What a note says of recordings in nested copies of a release."""


def release_files(root: str | os.PathLike[str], pattern: str) -> list[Path]:
    """List the files below a folder whose names match a pattern, suffixes in any case, the less nested first."""
    paths = [
        path
        for path in map(Path, files_below(root))
        if fnmatchcase(f"{path.stem}{path.suffix.lower()}", pattern) and path.is_file()
    ]
    return sorted(paths, key=lambda path: (len(path.parts), path))


def find_file(root: str | os.PathLike[str], names: Sequence[str], hint: str) -> Path:
    """Find the file of one of these names nearest to the root of the release.

    Args:
        root: folder of the release, or one around it.
        names: spellings in versions of the release.
        hint: end of the error message, which says what to do.

    Raises:
        CorpusError: there is none.
    """
    found = [path for name in names for path in release_files(root, name)]
    if not found:
        raise CorpusError(f"{root}: no {' or '.join(names)}; {hint}")
    return min(found, key=lambda path: len(path.parts))


def read_rows(path: Path, columns: Sequence[str], separator: str | None = None) -> list[dict[str, str]]:
    """Read the rows of a table as `read_delimited`, with empty texts for missing values.

    Raises:
        CorpusError: a column is missing, or the file is no such table.
    """
    with reading(path, "csv", CorpusError):
        table, _ = read_delimited(path, separator=separator)
    if missing := [name for name in columns if name not in table]:
        raise CorpusError(f"{path}: no column {missing[0]}; found {', '.join(table)}")
    rows = zip(*table.values(), strict=True)
    return [{name: value or "" for name, value in zip(table, row, strict=True)} for row in rows]


def match_recordings(
    rows: Sequence[Row], recordings: Sequence[Path], root: str | os.PathLike[str], notes: list[str]
) -> list[Row]:
    """Replace the file name that each row has as `audio_path` by the path of that recording, whatever its suffix.

    Args:
        rows: rows with `utterance_id` and `audio_path`.
        recordings: paths; of two with the same name, the first is used.
        root: name of the release in errors.
        notes: receives rows without recording, which are left out, recordings without row, and further copies.

    Raises:
        CorpusError: no row has a recording.
    """
    paths, copies = unique_names(recordings)
    names = [Path(row["audio_path"]).stem for row in rows]
    kept = [
        {**row, "audio_path": str(paths[name])}
        for row, name in zip(rows, names, strict=True)
        if name in paths
    ]
    if not kept:
        first = f", the first is {rows[0]['audio_path']}" if rows else ""
        found = f"none of {counted(len(rows), 'labeled recording')} is there{first}"
        raise CorpusError(f"{root}: {found}; unpack the recordings into this folder")
    if missing := [row["utterance_id"] for row, name in zip(rows, names, strict=True) if name not in paths]:
        notes.append(listing("labeled utterances have no recording and are left out", missing))
    if unlabeled := sorted(paths[name].name for name in paths.keys() - set(names)):
        notes.append(listing("recordings have no label and are left out", unlabeled))
    if copies:
        notes.append(listing(COPIES, [os.path.relpath(path, root) for path in copies]))
    return kept


def unique_names(paths: Iterable[Path]) -> tuple[dict[str, Path], list[Path]]:
    """Return the first file of each name without suffix, and further files of these names."""
    first: dict[str, Path] = {}
    copies = [path for path in paths if first.setdefault(path.stem, path) is not path]
    return first, copies


def make_corpus(
    name: str,
    rows: Sequence[Row],
    root: str | os.PathLike[str],
    notes: Iterable[str],
    progress: Progress | None = None,
) -> Corpus:
    """Create a corpus from the utterances of a reader, with durations.

    Args:
        name: name in `CATALOG`.
        rows: rows with `utterance_id`, `transcript` and `original_emotion`.
        root: name of the corpus in errors.
        notes: the reader's notes, to which missing transcripts and deviating counts are added.
        progress: called with the number of recordings whose header was read so far and of all.

    Raises:
        CorpusError: there are no rows.
    """
    if not rows:
        raise CorpusError(f"{root}: holds no utterances")
    table = pd.DataFrame({column: _series([row[column] for row in rows]) for column in rows[0]})
    table["corpus"] = name
    notes = [*notes, *(_missing_transcripts(table) if CATALOG[name].transcripts else [])]
    if documented := CATALOG[name].labels:
        notes += compare_counts(Counter(table["original_emotion"]), documented)
    return Corpus(table, source=str(root), notes=notes).with_durations(progress)


def add_transcripts(corpus: Corpus, transcripts: Mapping[str, str], notes: Iterable[str] = ()) -> Corpus:
    """Add transcripts by utterance id, and list utterances without one.

    Args:
        corpus: corpus from `read_grammar`.
        transcripts: transcripts by utterance id.
        notes: other notes of the reader.
    """
    ids = corpus.table["utterance_id"]
    texts = pd.Series([transcripts.get(name) for name in ids], index=ids.index, dtype=object)
    table = corpus.table.assign(transcript=texts)
    return Corpus(table, source=corpus.source, notes=[*corpus.notes, *notes, *_missing_transcripts(table)])


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, with or without byte order mark, or in Windows-1252."""
    refuse_special(path, CorpusError)
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def number(text: str) -> float | None:
    """Parse a number; None where the text is none."""
    try:
        return float(text)
    except ValueError:
        return None


def _series(values: list[Any]) -> pd.Series:
    """Create a column with None for missing text, where pandas would use NaN."""
    return pd.Series(values, dtype=object if any(isinstance(value, str) for value in values) else None)


def _missing_transcripts(table: pd.DataFrame) -> list[str]:
    missing = table["utterance_id"][table["transcript"].isna()].tolist()
    return [listing("utterances have no transcript", missing)] if missing else []
