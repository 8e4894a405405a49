"""Read and write corpus tables: Parquet, CSV, TSV and JSON lines."""

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute, parquet
from pyarrow import csv as arrow_csv

from mmer.corpora.delimited import DELIMITERS, check_width, read_delimited
from mmer.errors import CorpusError, Function, MMERError, reading, reason_of
from mmer.files.writing import TABLES, writing
from mmer.plain_text import json_text, shortened, valid, whole
from mmer.text.names import header, tidy

COLUMNS = (
    *("utterance_id", "audio_path", "start", "end", "transcript", "emotion", "speaker", "session"),
    *("split", "fold", "gender", "duration", "language", "corpus"),
)
"""Columns that every corpus has. `start`, `end` and `duration` are seconds, everything else is text."""

Row = dict[str, Any]
"""One utterance: the value of each column, its own columns included."""

SECONDS = ("start", "end", "duration")
FORMATS = ("audformat", "emobox", "kaldi", "hf")
"""Other formats, by the word before the colon, as in `kaldi:FOLDER`."""

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")  # 007 is a name, not a number
_WHOLE = re.compile(r"\.0+$")
NAMES = {
    "audio_path": ("file_name",),
    "transcript": ("transcript", "transcription", "text", "raw_text"),
    "emotion": ("emotion", "label"),
    "speaker": ("speaker", "speaker_id"),
    "gender": ("gender", "sex"),
}
"""Names of a column in audio folders and other formats; the first found is used."""

TEXT_COLUMNS = {
    *(*COLUMNS, "file_name", "dialogue", "original_emotion", "source_utterance"),
    *(name for names in NAMES.values() for name in names),
}
_LONGEST_NUMBER = 18  # most digits of an integer; a longer one is an id
_LEAST_REFUSED = 2**28  # bytes; a smaller table is always accepted
_MOST_TIMES = 100  # largest ratio of memory to disk size


def read_table(path: Path, notes: list[str] | None = None, as_text: Collection[str] = ()) -> pd.DataFrame:
    """Read a table in the format of its suffix, without changes.

    CSV and TSV are read as `read_delimited` says. Their columns are text, except those beyond `COLUMNS` where every
    value is a number without leading zeros, or true or false.

    Args:
        path: path with one of `TABLES`.
        notes: receives a line for each assumption about the file.
        as_text: columns whose numbers stay text in CSV and TSV, beside `COLUMNS`.

    Raises:
        CorpusError: the file does not exist, has an unknown suffix, cannot be read in its format, has two columns of
            one name, or would need far more memory than disk space.
    """
    suffix = path.suffix.lower()
    if str(path).partition(":")[0] in FORMATS:
        raise CorpusError(f"{path}: make a table of it first with ", Function("read_from", (str(path),)))
    if not path.exists():
        raise CorpusError(f"{path}: no such file")
    check_table_name(path)
    if not path.is_file():
        raise CorpusError(f"{path}: is no file")
    with reading(path, suffix[1:], CorpusError):
        if suffix == ".parquet":
            table = _read_parquet(path)
        elif suffix == ".jsonl":
            table = _read_json_lines(path)
        else:
            columns, commas_are_decimal = read_delimited(path, notes)
            table = _of_text(columns, commas_are_decimal, {*TEXT_COLUMNS, *map(header, as_text)})
        table.columns = [tidy(str(name)) for name in table.columns]
        for name, count in Counter(table.columns).items():
            if count > 1:
                raise CorpusError(f"{path}: column {name} occurs {count} times; rename one")
    return table


def with_columns(table: pd.DataFrame, known: Sequence[str]) -> pd.DataFrame:
    """Rename columns to known names from which they differ only in case, blanks or hyphens."""
    names = {header(str(name)): name for name in reversed(table.columns)}
    wanted = [(name, header(name)) for name in known if name not in table]
    return table.rename(columns={names[like]: name for name, like in wanted if like in names})


def check_table_name(path: Path) -> None:
    """Check in advance whether `write_table` knows the suffix.

    Raises:
        CorpusError: it does not.
    """
    if path.suffix.lower() not in TABLES:
        known = ", ".join(TABLES)
        raise CorpusError(f"{path}: unknown kind of table {path.suffix.lower()!r}; known are {known}")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table in the format of its suffix.

    Raises:
        CorpusError: the suffix is unknown, or UTF-8 cannot encode a text.
        MMERError: the file cannot be written.
    """
    check_table_name(path)
    suffix = path.suffix.lower()
    try:
        with writing(path) as part:
            if suffix == ".jsonl":
                _write_json_lines(table, part)
                return
            if suffix != ".parquet":
                table = _without_lists(table)
            arrow = pa.Table.from_pandas(table, preserve_index=False)
            if suffix == ".parquet":
                parquet.write_table(arrow, part)
            else:
                arrow_csv.write_csv(arrow, part, arrow_csv.WriteOptions(delimiter=DELIMITERS[suffix]))
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{path}: cannot hold {valid(error.object)!r}, which is not UTF-8; rename that file"
        ) from None
    except MMERError:
        raise
    except Exception as error:  # a value that the format cannot hold
        raise CorpusError(f"{path}: cannot be written ({reason_of(error)})") from error


def united(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables with all their columns; numbers in a column with text become text."""
    table = pd.concat(tables, ignore_index=True)
    for name in filter(lambda name: pd.api.types.is_object_dtype(table[name]), table.columns):
        values = [None if is_null(value) else value for value in table[name]]
        kinds = {isinstance(value, str) for value in values if value is not None}
        if len(kinds) == 2:
            values = [None if value is None else str(value) for value in values]
        table[name] = pd.Series(values, dtype=object)
    return table


def is_null(value: Any) -> bool:
    """Tell whether a value of a column is missing."""
    return (
        value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))
    )


def typed(values: list[str | None]) -> pd.Series:
    """Convert texts to numbers or booleans where all values allow it without loss; else keep the texts."""
    known = [value for value in values if value is not None]
    if known and all(value in ("true", "false") for value in known):
        return pd.Series([None if value is None else value == "true" for value in values], dtype="boolean")
    numbers: list[float | None] = []
    for value in values:
        if value is None:
            numbers.append(None)
        elif not _NUMBER.fullmatch(value):
            return pd.Series(values, dtype=object)
        elif set(value) & set(".eE"):
            numbers.append(float(value))
        elif len(value) <= _LONGEST_NUMBER:
            numbers.append(int(value))
        else:
            return pd.Series(values, dtype=object)
    names = {value and _WHOLE.sub("", value) for value in set(values)}
    merged = len(set(numbers)) < len(names)  # 1.1 and 1.10 are two names, 3 and 3.0 one number
    long = any(isinstance(number, int) and abs(number) > 2**53 for number in numbers)
    if not known or merged or (long and any(isinstance(number, float) for number in numbers)):
        return pd.Series(values, dtype=object)
    return _column(numbers)


def _of_text(
    columns: dict[str, list[str | None]], commas_are_decimal: bool, as_text: Collection[str]
) -> pd.DataFrame:
    series = {}
    for name, values in columns.items():
        is_text = header(name) in as_text
        if commas_are_decimal and (not is_text or header(name) in SECONDS):
            values = with_points(values)
        series[name] = pd.Series(values, dtype=object) if is_text else typed(values)
    return pd.DataFrame(series)


def with_points(values: list[str | None]) -> list[str | None]:
    """Replace decimal commas by points where all values are numbers."""
    pointed = [value and re.sub(r"(?<=\d),(?=\d+$)", ".", value) for value in values]
    return pointed if all(value is None or _NUMBER.fullmatch(value) for value in pointed) else values


def _read_parquet(path: Path) -> pd.DataFrame:
    """Read a Parquet file without its pandas metadata, which may be damaged; an index becomes columns."""
    with parquet.ParquetFile(path) as file:
        check_width(path, file.metadata.num_columns)  # nested columns count too
        _check_parquet_size(path, file)
        table = file.read().replace_schema_metadata()
    for number, field in enumerate(table.schema):
        column = table.column(number)
        if pa.types.is_dictionary(field.type):
            column = column.cast(field.type.value_type)
        elif pa.types.is_decimal(field.type):
            column = column.cast(pa.float64() if field.type.scale else pa.string())
        table = table.set_column(number, field.name, column)
    unnamed = [name for name in table.column_names if re.fullmatch(r"__index_level_\d+__", name)]
    table = table.drop_columns(unnamed)
    frame = table.to_pandas(integer_object_nulls=True)
    for number, (field, column) in enumerate(zip(table.schema, table.columns, strict=True)):
        if pa.types.is_signed_integer(field.type) and column.null_count:
            frame.isetitem(number, pd.array(column.to_pylist(), dtype="Int64"))
    return frame


def _check_parquet_size(path: Path, file: parquet.ParquetFile) -> None:
    """Check that repeated long texts in a file do not exhaust the memory."""
    check_width(path, len(file.schema_arrow))
    leaves = [file.schema.column(number) for number in range(len(file.schema))]
    flat = [leaf.path for leaf in leaves if not leaf.max_repetition_level]
    groups = []
    for number in range(file.num_row_groups):
        # Damaged metadata, for which `RowGroupMetaData.column` ends the process, make reading a row raise an error. Not
        # of columns of lists, one of which may fill the memory.
        if flat:
            next(file.iter_batches(batch_size=1, row_groups=[number], columns=flat, use_threads=False), None)
        groups.append(file.metadata.row_group(number))
    values = (
        group.column(number).num_values * max(8, leaf.length)
        for group in groups
        for number, leaf in enumerate(leaves)
    )
    size = max(sum(values), 8 * file.metadata.num_rows * len(leaves))
    _check_size(path, size)
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    # Read as a dictionary, a repeated text is stored once.
    with parquet.ParquetFile(path, read_dictionary=texts) as repeated:
        for batch in repeated.iter_batches(columns=texts, use_threads=False) if texts else ():
            size += sum(map(_length_of_texts, batch.columns))
            _check_size(path, size)


def _length_of_texts(array: pa.Array) -> int:
    if pa.types.is_dictionary(array.type):
        lengths = compute.call_function("binary_length", [array.dictionary])
        return compute.call_function("sum", [lengths.take(array.indices)]).as_py() or 0
    if pa.types.is_struct(array.type):
        return sum(map(_length_of_texts, array.flatten()))
    if pa.types.is_nested(array.type):
        return _length_of_texts(array.flatten())
    return array.nbytes


def _check_size(path: Path, size: int) -> None:
    most = max(_LEAST_REFUSED, _MOST_TIMES * path.stat().st_size)
    if size > most:
        found = (
            f"would take {size / 1e9:.1f} GB of memory, {size // max(path.stat().st_size, 1)} times its size"
        )
        raise CorpusError(f"{path}: {found}; it is damaged or made to fill the memory")


def _read_json_lines(path: Path) -> pd.DataFrame:
    rows = []
    with open(path, encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, object_pairs_hook=_without_repeats)
            except RecursionError:
                raise CorpusError(f"{path}: line {number} is nested too deeply") from None
            except ValueError as error:
                reason = error.msg if isinstance(error, json.JSONDecodeError) else reason_of(error)
                raise CorpusError(f"{path}: line {number} is not JSON ({reason})") from None
            if not isinstance(row, dict):
                raise CorpusError(f'{path}: line {number} is no JSON object, as in {{"utterance_id": ...}}')
            rows.append({name: whole(value) for name, value in row.items()})
    columns = dict.fromkeys(name for row in rows for name in row)
    check_width(path, len(columns))
    _check_size(path, 8 * len(rows) * len(columns))
    return pd.DataFrame(
        {name: _column([row.get(name) for row in rows], header(name) in TEXT_COLUMNS) for name in columns}
    )


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, object]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        repeated = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{repeated!r} is given twice")
    return entries


def _column(values: list[Any], is_text: bool = False) -> pd.Series:
    """Create a column whose integers stay exact, however long and beside missing values."""
    known = [value for value in values if value is not None]
    numbers = [value for value in known if isinstance(value, int) and not isinstance(value, bool)]
    if any(abs(number) >= 2**63 for number in numbers):
        return pd.Series([str(value) if isinstance(value, int) else value for value in values], dtype=object)
    if numbers and len(numbers) == len(known) < len(values) and not is_text:
        return pd.Series(values, dtype="Int64")
    mixed = any(abs(number) > 2**53 for number in numbers) and len(numbers) < len(known)
    return pd.Series(values, dtype=object if mixed or is_text else None)


def _write_json_lines(table: pd.DataFrame, path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for row in table.to_dict("records"):
            values = {str(name): plain(value) for name, value in row.items()}
            file.write(json_text(values, allow_nan=True) + "\n")


def brief(value: Any) -> str:
    """Format a value for an error: on one line and short."""
    return shortened(" ".join(repr(value).split()), 80)


def plain(value: Any) -> Any:
    """Convert a value to a JSON-serializable one; a date becomes text."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if is_null(value):
        return None
    if isinstance(value, date | timedelta | np.datetime64 | np.timedelta64):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def _without_lists(table: pd.DataFrame) -> pd.DataFrame:
    texts = {
        str(name): pd.Series([flat(value) for value in column], index=table.index, dtype=object)
        for name, column in table.items()
        if column.dtype == object
    }
    return table.assign(**texts)


def flat(value: Any) -> Any:
    """Convert a list or a mapping to JSON, for formats whose cells hold neither; leave other values."""
    return json_text(plain(value)) if isinstance(value, list | tuple | dict | np.ndarray) else value
