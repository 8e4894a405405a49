"""Corpus tables on disk: Parquet, CSV, TSV, JSON lines, and folders of audio with a `metadata.csv`."""

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from mmer.errors import CorpusError

COLUMNS = (
    *("utterance_id", "audio_path", "start", "end", "transcript", "emotion", "speaker", "session"),
    *("split", "fold", "gender", "duration", "language", "corpus"),
)
"""Columns that every corpus has. `start`, `end` and `duration` are seconds, everything else is text."""

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")  # 007 names something
_AUDIO_FOLDER = {  # column of the corpus: columns of the audiofolder convention, the first found is taken
    "audio_path": ("file_name",),
    "transcript": ("transcript", "transcription", "text"),
    "emotion": ("emotion", "label"),
}
_AS_TEXT = {*COLUMNS, *(name for names in _AUDIO_FOLDER.values() for name in names)}


def read_table(path: Path) -> pd.DataFrame:
    """Read a table by its suffix, as it is.

    CSV and TSV are UTF-8; a field that is empty is null, a quoted empty one is the empty text. Their columns are
    text, except those beyond `COLUMNS` where every value is a number without leading zeros, or true or false.

    Raises:
        CorpusError: no such file, an unknown suffix, or not readable as what the suffix says.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise CorpusError(f"{path}: unknown kind of table {suffix!r}; known are {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise CorpusError(f"{path}: no such file")
    try:
        if suffix == ".parquet":
            return parquet.read_table(path).to_pandas()
        if suffix == ".jsonl":
            return _read_json_lines(path)
        return _read_delimited(path, DELIMITERS[suffix])
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x}"
        raise CorpusError(f"{path}: is not UTF-8 ({found}); save it in UTF-8") from None
    except (pa.ArrowException, csv.Error, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        if "invalid UTF8" in reason:
            raise CorpusError(f"{path}: is not UTF-8; save it in UTF-8") from None
        raise CorpusError(f"{path}: cannot be read as {suffix[1:]} ({reason})") from None


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table by its suffix.

    Raises:
        CorpusError: an unknown suffix or a folder that does not exist.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise CorpusError(f"{path}: unknown kind of table {suffix!r}; known are {', '.join(SUFFIXES)}")
    try:
        if suffix == ".jsonl":
            _write_json_lines(table, path)
            return
        arrow = pa.Table.from_pandas(table, preserve_index=False)
        if suffix == ".parquet":
            parquet.write_table(arrow, path)
        else:
            arrow_csv.write_csv(arrow, path, arrow_csv.WriteOptions(delimiter=DELIMITERS[suffix]))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise CorpusError(f"{path}: cannot be written ({reason})") from None


def read_audio_folder(folder: Path) -> pd.DataFrame:
    """Read the `metadata.csv`, `.jsonl` or `.parquet` of a folder with audio files.

    Raises:
        CorpusError: none of them is there, it has no column `file_name`, or it cannot be read.
    """
    files = [folder / f"metadata{suffix}" for suffix in (".csv", ".jsonl", ".parquet")]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise CorpusError(
            f"{folder}: is a folder without metadata.csv; give a table or add one with file_name"
        )
    table = read_table(found)
    if "file_name" not in table:
        columns = ", ".join(map(str, table.columns))
        raise CorpusError(f"{found}: no column file_name with the path of each audio file; found {columns}")
    names = {
        next((name for name in candidates if name in table), column): column
        for column, candidates in _AUDIO_FOLDER.items()
    }
    table = table.rename(columns=names)
    return table if "utterance_id" in table else table.assign(utterance_id=table["audio_path"])


def _read_delimited(path: Path, delimiter: str) -> pd.DataFrame:
    with open(path, encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file, delimiter=delimiter), [])
    if len(set(header)) < len(header):
        repeated = next(name for name in header if header.count(name) > 1)
        raise CorpusError(f"{path}: column {repeated} occurs {header.count(repeated)} times; rename one")
    table = arrow_csv.read_csv(
        path,
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        ),
    )
    columns = {name: table[name].to_pylist() for name in table.column_names}
    return pd.DataFrame(
        {
            name: pd.Series(values, dtype=object) if name in _AS_TEXT else _typed(values)
            for name, values in columns.items()
        }
    )


def _typed(values: list[str | None]) -> pd.Series:
    known = [value for value in values if value is not None]
    if known and all(value in ("true", "false") for value in known):
        return pd.Series([None if value is None else value == "true" for value in values], dtype="boolean")
    if known and all(_NUMBER.fullmatch(value) for value in known):
        return pd.to_numeric(pd.Series(values, dtype=object))
    return pd.Series(values, dtype=object)


def _read_json_lines(path: Path) -> pd.DataFrame:
    rows = []
    with open(path, encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise CorpusError(f"{path}: line {number} is not JSON ({error.msg})") from None
            if not isinstance(row, dict):
                raise CorpusError(f'{path}: line {number} is no JSON object, as in {{"utterance_id": ...}}')
            rows.append(row)
    columns = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame(
        {
            name: pd.Series([row.get(name) for row in rows], dtype=object if name in _AS_TEXT else None)
            for name in columns
        }
    )


def _write_json_lines(table: pd.DataFrame, path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for row in table.to_dict("records"):
            values = {str(name): _plain(value) for name, value in row.items()}
            file.write(json.dumps(values, ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    """A value as JSON knows it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value
