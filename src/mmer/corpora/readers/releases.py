"""What readers of label files share: files of the unpacked release, its tables, and the corpus made of them."""

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
from mmer.errors import CorpusError
from mmer.files.regular import refuse_special

Row = dict[str, Any]
"""One utterance: value of each column."""


def release_files(root: str | os.PathLike[str], pattern: str) -> list[Path]:
    """Files below a folder whose names match a pattern, in order."""
    names = filter(lambda path: fnmatchcase(os.path.basename(path), pattern), files_below(root))
    return sorted(Path(path) for path in names if os.path.isfile(path))


def find_file(root: str | os.PathLike[str], names: Sequence[str], hint: str) -> Path:
    """The file of one of these names that lies highest in the release.

    Args:
        root: folder of the release, or one around it.
        names: how versions of the release spell it.
        hint: what to do where there is none, the end of the error message.

    Raises:
        CorpusError: there is none.
    """
    found = [path for name in names for path in release_files(root, name)]
    if not found:
        raise CorpusError(f"{root}: no {' or '.join(names)}; {hint}")
    return min(found, key=lambda path: len(path.parts))


def read_rows(path: Path, columns: Sequence[str], separator: str = ",") -> list[dict[str, str]]:
    """The rows of a delimited table of UTF-8 text, with the empty text where there is nothing.

    Raises:
        CorpusError: a column that is not there, or not such a table.
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
        rows: with `utterance_id` and `audio_path`.
        recordings: of two with the same name the first counts.
        root: what the error calls the release.
        notes: gets the rows without recording, which are left out, and the recordings without row.

    Raises:
        CorpusError: no row has a recording.
    """
    paths = {path.name: str(path) for path in reversed(recordings)}
    kept = [{**row, "audio_path": paths[row["audio_path"]]} for row in rows if row["audio_path"] in paths]
    if not kept:
        first = f", the first is {rows[0]['audio_path']}" if rows else ""
        found = f"none of {len(rows)} labeled recordings is there{first}"
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
    """The corpus of the utterances that a reader found, with durations.

    Args:
        name: what `CATALOG` calls the corpus.
        rows: each with `utterance_id`, `transcript` and `original_emotion`.
        root: what errors call the corpus.
        notes: what the reader has to say; missing transcripts and differing counts are added to it.
        progress: called with the number of recordings whose header was read so far and of all.

    Raises:
        CorpusError: no rows.
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
    """The corpus with the transcript of each utterance id; the others have none and are listed.

    Args:
        corpus: as `read_grammar` gives it.
        transcripts: what is said, by utterance id.
        notes: what the reader has to say beside this.
    """
    ids = corpus.table["utterance_id"]
    texts = pd.Series([transcripts.get(name) for name in ids], index=ids.index, dtype=object)
    table = corpus.table.assign(transcript=texts)
    return Corpus(table, source=corpus.source, notes=[*corpus.notes, *notes, *_missing_transcripts(table)])


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without byte order mark, or in the code page of western Windows."""
    refuse_special(path, CorpusError)
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def number(text: str) -> float | None:
    """A number that is written out; None where it is not."""
    try:
        return float(text)
    except ValueError:
        return None


def _series(values: list[Any]) -> pd.Series:
    """A column whose nulls are None if it is text; pandas would make them NaN."""
    return pd.Series(values, dtype=object if any(isinstance(value, str) for value in values) else None)


def _missing_transcripts(table: pd.DataFrame) -> list[str]:
    missing = table["utterance_id"][table["transcript"].isna()].tolist()
    return [listing("utterances have no transcript", missing)] if missing else []
