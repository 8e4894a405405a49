"""Corpus tables on disk: Parquet, CSV, TSV, JSON lines, and folders of audio with a `metadata.csv`."""

import csv
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from mmer.errors import CorpusError
from mmer.files import writing
from mmer.plain_text import json_text, valid, whole

COLUMNS = (
    *("utterance_id", "audio_path", "start", "end", "transcript", "emotion", "speaker", "session"),
    *("split", "fold", "gender", "duration", "language", "corpus"),
)
"""Columns that every corpus has. `start`, `end` and `duration` are seconds, everything else is text."""

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")
FORMATS = ("audformat", "emobox", "kaldi", "hf")
"""Other formats, by the word before the colon, as in `kaldi:FOLDER`."""

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")  # 007 names something
_SPLITS = {  # split: names of it, those that Hugging Face takes from folders and files
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
NAMES = {
    "audio_path": ("file_name",),
    "transcript": ("transcript", "transcription", "text", "raw_text"),
    "emotion": ("emotion", "label"),
    "speaker": ("speaker", "speaker_id"),
    "gender": ("gender", "sex"),
}
"""Names that a column has in audio folders and other formats; the first found is taken."""

_AS_TEXT = {*COLUMNS, *(name for names in NAMES.values() for name in names)}


def read_table(path: Path) -> pd.DataFrame:
    """Read a table by its suffix, as it is.

    CSV and TSV are UTF-8; a field that is empty is null, a quoted empty one is the empty text. Their columns are
    text, except those beyond `COLUMNS` where every value is a number without leading zeros, or true or false.

    Raises:
        CorpusError: no such file, an unknown suffix, or not readable as what the suffix says.
    """
    suffix = path.suffix.lower()
    if str(path).partition(":")[0] in FORMATS:
        raise CorpusError(f"{path}: make a table of it first: mmer corpus convert {path} corpus.parquet")
    if not path.exists():
        raise CorpusError(f"{path}: no such file")
    check_table_name(path)
    if not path.is_file():
        raise CorpusError(f"{path}: is no file")
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


def check_table_name(path: Path) -> None:
    """Find out before the work whether `write_table` knows the suffix.

    Raises:
        CorpusError: it does not.
    """
    if path.suffix.lower() not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise CorpusError(f"{path}: unknown kind of table {path.suffix.lower()!r}; known are {known}")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table by its suffix.

    Raises:
        CorpusError: an unknown suffix, or text that UTF-8 cannot encode.
        MMERError: the file cannot be written.
    """
    check_table_name(path)
    suffix = path.suffix.lower()
    try:
        with writing(path) as part:
            if suffix == ".jsonl":
                _write_json_lines(table, part)
                return
            arrow = pa.Table.from_pandas(table, preserve_index=False)
            if suffix == ".parquet":
                parquet.write_table(arrow, part)
            else:
                arrow_csv.write_csv(arrow, part, arrow_csv.WriteOptions(delimiter=DELIMITERS[suffix]))
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{path}: cannot hold {valid(error.object)!r}, which is not UTF-8; rename that file"
        ) from None
    except pa.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise CorpusError(f"{path}: cannot be written ({reason})") from None


def read_audio_folder(folder: Path) -> pd.DataFrame:
    """Read the `metadata.csv`, `.jsonl` or `.parquet` of a folder with audio files, or those of its split folders.

    Split folders are called `train`, `validation` or `test`, or as Hugging Face calls them (`dev`, `eval`, ...), and
    lie in the folder or in its `data`. One `metadata.csv` for all may name them in its paths instead (`train/a.wav`).
    Paths in the table are relative to the folder.

    Raises:
        CorpusError: none of them is there, one has no column `file_name`, or cannot be read.
    """
    for base in (folder, folder / "data"):
        if found := _metadata(base):
            return _read_metadata(found, folder)
        parts = _split_folders(base)
        files = {name: found for name, part in parts.items() if (found := _metadata(part))}
        if files and len(files) < len(parts):
            lacking = next(name for name in parts if name not in files)
            raise CorpusError(
                f"{parts[lacking]}: is a split without metadata.csv, which {next(iter(files))} has"
            )
        if files:
            tables = [_read_metadata(file, folder).assign(split=name) for name, file in files.items()]
            table = united(tables)
            return table.assign(split=splits_of(table["split"]))
    raise CorpusError(f"{folder}: is a folder without metadata.csv; give a table or add one with file_name")


def has_metadata(folder: Path) -> bool:
    """Whether `read_audio_folder` finds a table there."""
    return bool(metadata_files(folder))


def metadata_files(folder: Path) -> list[Path]:
    """Tables that `read_audio_folder` may read."""
    places = [place for base in (folder, folder / "data") for place in (base, *_split_folders(base).values())]
    return [file for place in places if (file := _metadata(place))]


def split_of(name: str) -> str | None:
    """The split that another format calls `name`, such as `dev`; None for a name of something else."""
    return next((split for split, names in _SPLITS.items() if name.lower() in names), None)


def splits_of(names: pd.Series) -> pd.Series:
    """The split of each utterance; null where all are in `train`, the name of what is not split at all."""
    splits = [split_of(name) for name in names]
    return pd.Series(None if set(splits) == {"train"} else splits, index=names.index, dtype=object)


def own_names(table: pd.DataFrame) -> pd.DataFrame:
    """Columns as a corpus calls them, by `NAMES`."""
    return table.rename(
        columns={
            next((name for name in candidates if name in table), column): column
            for column, candidates in NAMES.items()
        }
    )


def united(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all tables with the columns of all; text in a column makes its numbers text too."""
    table = pd.concat(tables, ignore_index=True)
    for name in filter(lambda name: pd.api.types.is_object_dtype(table[name]), table.columns):
        values = [None if is_null(value) else value for value in table[name]]
        kinds = {isinstance(value, str) for value in values if value is not None}
        if len(kinds) == 2:
            values = [None if value is None else str(value) for value in values]
        table[name] = pd.Series(values, dtype=object)
    return table


def is_null(value: Any) -> bool:
    """Whether a value of a column is missing."""
    return (
        value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))
    )


def typed(values: list[str | None]) -> pd.Series:
    """Numbers, or true and false, where all values are such; else the texts. A null is None or NaN."""
    known = [value for value in values if value is not None]
    if known and all(value in ("true", "false") for value in known):
        return pd.Series([None if value is None else value == "true" for value in values], dtype="boolean")
    if known and all(_NUMBER.fullmatch(value) for value in known):
        return pd.to_numeric(pd.Series(values, dtype=object))
    return pd.Series(values, dtype=object)


def _split_folders(base: Path) -> dict[str, Path]:
    return {part.name: part for part in sorted(base.glob("*")) if part.is_dir() and split_of(part.name)}


def _metadata(folder: Path) -> Path | None:
    files = [folder / f"metadata{suffix}" for suffix in (".csv", ".jsonl", ".parquet")]
    return next((file for file in files if file.is_file()), None)


def _read_metadata(file: Path, folder: Path) -> pd.DataFrame:
    """The utterances of a `metadata.csv`, with paths relative to `folder`."""
    table = read_table(file)
    if "file_name" not in table:
        columns = ", ".join(map(str, table.columns))
        raise CorpusError(f"{file}: no column file_name with the path of each audio file; found {columns}")
    names = table["file_name"].map(lambda name: None if pd.isna(name) else PurePosixPath(name))
    tops = [name.parts[0] if name and name.parts else "" for name in names]
    if "split" not in table and all(map(split_of, tops)):
        table["split"] = splits_of(pd.Series(tops))
    place = PurePosixPath(file.parent.relative_to(folder).as_posix())
    table["file_name"] = [None if name is None else str(place / name) for name in names]
    table = own_names(table)
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
            name: pd.Series(values, dtype=object) if name in _AS_TEXT else typed(values)
            for name, values in columns.items()
        }
    )


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
            rows.append({name: whole(value) for name, value in row.items()})
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
            values = {str(name): plain(value) for name, value in row.items()}
            file.write(json_text(values, allow_nan=True) + "\n")


def plain(value: Any) -> Any:
    """A value as JSON knows it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if is_null(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
