"""Helpers of readers of label files: files and tables of the unpacked release, and the corpus made from them."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from mmer.corpora.corpus import Corpus, Progress, listing
from mmer.corpora.folders import files_below
from mmer.corpora.readers.catalog import CATALOG, compare_counts
from mmer.corpora.tables import Row
from mmer.errors import CorpusError
from mmer.files.regular import refuse_special
from mmer.plain_text import counted


def release_files(root: str | os.PathLike[str], pattern: str) -> list[Path]:
    """List the files below a folder whose names match a pattern, in order."""
    names = filter(lambda path: fnmatchcase(os.path.basename(path), pattern), files_below(root))
    return sorted(Path(path) for path in names if os.path.isfile(path))


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


def read_rows(path: Path, columns: Sequence[str], separator: str = ",") -> list[dict[str, str]]:
    """Read the rows of a delimited UTF-8 table, with empty texts for missing values.

    Raises:
        CorpusError: a column is missing, or the file is no such table.
    """
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise CorpusError(f"{path}: cannot be read as a table of UTF-8 text ({reason})") from None
    if missing := [name for name in columns if name not in table]:
        raise CorpusError(f"{path}: no column {missing[0]}; found {', '.join(table.columns)}")
    names = [str(name) for name in table.columns]
    return [dict(zip(names, values, strict=True)) for values in table.itertuples(index=False, name=None)]


def match_recordings(
    rows: Sequence[Row], recordings: Sequence[Path], root: str | os.PathLike[str], notes: list[str]
) -> list[Row]:
    """Replace the file name that each row has as `audio_path` by the path of that recording.

    Args:
        rows: rows with `utterance_id` and `audio_path`.
        recordings: paths; of two with the same name, the first is used.
        root: name of the release in errors.
        notes: receives rows without recording, which are left out, and recordings without row.

    Raises:
        CorpusError: no row has a recording.
    """
    paths = {path.name: str(path) for path in reversed(recordings)}
    kept = [{**row, "audio_path": paths[row["audio_path"]]} for row in rows if row["audio_path"] in paths]
    if not kept:
        first = f", the first is {rows[0]['audio_path']}" if rows else ""
        found = f"none of {counted(len(rows), 'labeled recording')} is there{first}"
        raise CorpusError(f"{root}: {found}; unpack the recordings into this folder")
    if missing := [row["utterance_id"] for row in rows if row["audio_path"] not in paths]:
        notes.append(listing("labeled utterances have no recording and are left out", missing))
    if unlabeled := sorted(paths.keys() - {row["audio_path"] for row in rows}):
        notes.append(listing("recordings have no label and are left out", unlabeled))
    return kept


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
