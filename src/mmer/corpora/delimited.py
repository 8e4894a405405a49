"""Reading of CSV and TSV files from spreadsheets, corpora and other programs."""

import codecs
import csv
import io
import re
from pathlib import Path

import pyarrow as pa
from pyarrow import csv as arrow_csv

from mmer.errors import CorpusError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
_MOST_COLUMNS = 20_000
_WORDS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_LINE_ENDS = re.compile("\r\n|\r|\n")
_EXCELS_HINT = re.compile("sep=([,;\t])(\r\n|\r|\n)", re.IGNORECASE)  # a first line that Excel does not show

csv.field_size_limit(2**30)  # Python's default limit for a cell is 128 KB


def read_delimited(
    path: Path, notes: list[str] | None = None, separator: str | None = None
) -> tuple[dict[str, list[str | None]], bool]:
    """Read a CSV or TSV file as text.

    The text is UTF-8, or UTF-16 with its mark. An empty cell is None, a quoted empty one the empty text. Rows of empty
    cells, and columns without name and content, are skipped. A `.csv` whose header has semicolons or tabs and no comma
    is split at these, and one that begins with a line such as `sep=;` at what it names. Blanks may stand before
    a quoted cell. In a TSV, a quotation mark is a character like any other unless the file as a whole is quoted, or a
    cell of several lines is. Empty lines above the header are skipped.

    Args:
        path: path ending in `.csv` or `.tsv`.
        notes: receives a line for each assumption.
        separator: what stands between cells; None for what the first line shows.

    Returns:
        The cells by column, and whether semicolons delimit them, so that commas may be decimal.

    Raises:
        CorpusError: it is empty, two columns have one name, there are more than 20 000 columns, a row has more or fewer
            cells than the header, or a quotation mark is not closed; the message gives the line.
        UnicodeDecodeError: it is neither UTF-8 nor UTF-16 with a mark.
    """
    text = _decoded(path.read_bytes())
    hint = _EXCELS_HINT.match(text)
    whole = text
    text = text[hint.end() if hint else 0 :].lstrip("\r\n")
    if not text.strip():
        raise CorpusError(f"{path}: is empty; write a header, and rows below it")
    above = _LINE_ENDS.findall(whole[: len(whole) - len(text)])
    first = _LINE_ENDS.split(text, maxsplit=1)[0]
    delimiter = separator or (hint[1] if hint else _delimiter(first, path.suffix.lower()))
    if notes is not None and delimiter != DELIMITERS[path.suffix.lower()]:
        notes.append(f"{path.name} is read with {_WORDS[delimiter]} between its columns")
    if delimiter == "\t" and (lines := _plain_lines(text)):
        check_width(path, lines[0].count("\t") + 1)
        rows = [line.split("\t") for line in lines]
        quoted = all(_is_quoted(cell) for cell in rows[0])
        columns = [list(column) for column in zip(*rows, strict=True)]
        names = [_unquoted(column[0], quoted) or "" for column in columns]
        cells = [[_unquoted(cell, quoted) for cell in column[1:]] for column in columns]
    else:
        text = _without_blanks_before_quotes(text, delimiter)
        _check_quotes(path, "\n" * len(above) + text, delimiter)  # its errors number the lines of the file
        names, cells = _parsed(text, delimiter)
    return _columns(path, names, cells), delimiter == ";"


def check_width(path: Path, columns: int) -> None:
    """Check that a table has at most 20 000 columns, since each row of a wider one takes seconds.

    Raises:
        CorpusError: it has more.
    """
    if columns > _MOST_COLUMNS:
        raise CorpusError(f"{path}: has {columns} columns; a table has at most {_MOST_COLUMNS}")


def _decoded(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.decode("utf-8-sig")


def _delimiter(line: str, suffix: str) -> str:
    usual = DELIMITERS[suffix]
    if suffix == ".tsv" or usual in line:
        return usual
    return next((mark for mark in (";", "\t") if mark in line), usual)


def _plain_lines(text: str) -> list[str] | None:
    """Return the lines of a TSV with one row on each; None where cells span several lines."""
    lines = [line for line in _LINE_ENDS.split(text) if line]
    return lines if len({line.count("\t") for line in lines}) == 1 else None


def _is_quoted(cell: str) -> bool:
    """Tell whether a cell is in quotation marks, with those inside it doubled."""
    inner = cell[1:-1]
    return len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")


def _unquoted(cell: str, all_are: bool) -> str | None:
    # Where not all cells are quoted, only an empty one or one with doubled marks inside shows quoting.
    if _is_quoted(cell) and (all_are or cell == '""' or '""' in cell[1:-1]):
        return cell[1:-1].replace('""', '"')
    return cell or None


def _without_blanks_before_quotes(text: str, delimiter: str) -> str:
    """Remove the blanks between a delimiter and a quoted cell, which would make its marks part of the text."""
    if not re.search(f'[{delimiter}] +"', text):
        return text
    quoted = '"[^"]*+(?:""[^"]*+)*+"'
    begun, ended = rf"(?<![^{delimiter}\r\n])", rf"(?![^{delimiter}\r\n])"
    cell = re.compile(rf"{begun} +({quoted}){ended}|{quoted}|[^{delimiter}\r\n]+")
    return cell.sub(lambda found: found[1] or found[0], text)


def _check_quotes(path: Path, text: str, delimiter: str) -> None:
    """Check that each row has as many cells as the header, and that no quotation mark swallows rows."""
    lines = _LINE_ENDS.split(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    width, begun = 0, 1
    try:
        for row in reader:
            width = width or len(row)
            check_width(path, width)
            if row and len(row) != width:
                found = f"line {begun} has {len(row)} cells, and the header {width}"
                raise CorpusError(f"{path}: {found}; quote a cell that has a delimiter or a line break in it")
            if reader.line_num > begun:
                _check_lines_of_row(path, lines[begun - 1 : reader.line_num], delimiter, row, begun)
            begun = reader.line_num + 1
    except csv.Error as error:
        if "unexpected end" in str(error):
            found = f"a quotation mark that opens in line {begun} is not closed"
        else:
            found = f"a quotation mark in line {begun} is closed within a cell, in line {reader.line_num}"
        raise CorpusError(f"{path}: {found}; close it, or double each mark that belongs to a text") from None


def _check_lines_of_row(path: Path, lines: list[str], delimiter: str, row: list[str], begun: int) -> None:
    """Check that no line inside a multi-line row looks like a separate row."""
    first = next(number for number, cell in enumerate(row) if _LINE_ENDS.search(cell))
    # The last line of a cell in the first column is always followed by all other cells.
    inner = lines[1:-1] if first == 0 else lines[1:]
    for number, line in enumerate(inner, begun + 1):
        cells = next(csv.reader([line], delimiter=delimiter), [])
        if len(cells) == len(row) > 1 and not any(cell.startswith(" ") for cell in cells):
            found = (
                f"a quotation mark that opens in line {begun} takes in line {number}, which looks like a row"
            )
            raise CorpusError(f"{path}: {found}; close it, or write the cell in one line")


def _parsed(text: str, delimiter: str) -> tuple[list[str], list[list[str | None]]]:
    header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    # Arrow's own memory: a thread of it may let go of the data only after the answer, and where that was an object of
    # Python, a command that had ended meanwhile was aborted ("terminate called without an active exception").
    data = pa.BufferOutputStream()
    data.write(text.encode())
    size = data.tell()
    table = arrow_csv.read_csv(
        pa.BufferReader(data.getvalue()),
        read_options=arrow_csv.ReadOptions(
            column_names=[str(number) for number in range(len(header))],
            block_size=max(1 << 20, min(size + 1, 2**31 - 1)),  # a cell may be as long as the file
        ),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types={str(number): pa.string() for number in range(len(header))},
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        ),
    )
    cells = [column.to_pylist()[1:] for column in table.columns]
    return header, cells


def _columns(path: Path, names: list[str], cells: list[list[str | None]]) -> dict[str, list[str | None]]:
    filled = [any(value and value.strip() for value in row) for row in zip(*cells, strict=True)]
    columns: dict[str, list[str | None]] = {}
    for number, (name, values) in enumerate(zip(names, cells, strict=True), 1):
        if not name.strip() and not any(values):
            continue
        if not name.strip():  # such as pandas's row numbers, under the name that pandas gives them
            name = f"Unnamed: {number - 1}"
        if name in columns:
            raise CorpusError(f"{path}: column {name} occurs {names.count(name)} times; rename one")
        columns[name] = [value for value, is_row in zip(values, filled, strict=True) if is_row]
    return columns
