"""Consoles: results on standard output, messages on standard error, and users' text never as markup."""

import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO, StringIO, TextIOWrapper
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column
from rich.table import Table as _RichTable
from rich.text import Text, TextType

from mmer.errors import MMERError, Parameter
from mmer.plain_text import one_line, shortened, shown

ResultFormat = Literal["table", "jsonl", "csv"]
"""How results are printed on standard output."""

BAR = 10
"""Columns of a `bar`."""

_WIDEST = 24
"""Most columns that a name takes in a `CountTable`."""
_LONGEST = 60  # characters of a name in a `CountTable`
_ERRORS = 5  # most errors that are printed
_EIGHTHS = " ▏▎▍▌▋▊▉"


class PlainConsole(Console):
    """Console that prints text literally: no markup, emoji codes or highlighting, and control characters as symbols."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render a printed object; all text passes through here."""
        if isinstance(renderable, str):
            renderable = shown(renderable)
        elif isinstance(renderable, Text) and (safe := shown(renderable.plain)) != renderable.plain:
            spans = renderable.spans if len(safe) == len(renderable.plain) else None
            renderable = renderable.blank_copy(safe)
            renderable.spans = list(spans or [])
        return super().render(renderable, options)

    def on_broken_pipe(self) -> None:
        """Leave a broken pipe to the command."""
        raise BrokenPipeError


class Table(_RichTable):
    """Table that shows strings literally on any console."""

    def __init__(self, *headers: Column | str, title: TextType | None = None, **settings: Any) -> None:
        super().__init__(title=None if title is None else _plain(title), **settings)
        for header in headers:
            self.add_column(header) if isinstance(header, str) else self.columns.append(header)

    def add_column(self, header: RenderableType = "", *args: Any, **settings: Any) -> None:
        super().add_column(_plain(header), *args, **settings)

    def add_row(self, *cells: RenderableType | None, **settings: Any) -> None:
        super().add_row(*map(_plain, cells), **settings)


class CountTable:
    """Table of counts; where a console is too narrow, its columns go into several tables, one below the other.

    Args:
        heading: heading of the names of the rows.
        columns: headings of the counts.
        rows: name of each row, and its counts.
    """

    def __init__(
        self, heading: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[int]]]
    ) -> None:
        self.heading = heading
        self.columns = [shortened(name, _LONGEST) for name in columns]
        self.rows = [(shortened(name, _LONGEST), counts) for name, counts in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        names = [self.heading, *(name for name, _ in self.rows)]
        first = min(_WIDEST, max(cell_len(shown(name)) for name in names))
        room, columns = options.max_width - first - 4, list(enumerate(self.columns))
        whole = sum(3 + cell_len(shown(name)) for name in self.columns)
        widths = [self._width(number) for number, _ in columns]
        while columns:
            table, left = Table(), room
            table.add_column(self.heading, width=first, overflow="fold")
            chosen = [columns.pop(0)]
            left -= 3 + widths[chosen[0][0]]
            while columns and left >= 3 + widths[columns[0][0]]:
                left -= 3 + widths[columns[0][0]]
                chosen.append(columns.pop(0))
            for number, name in chosen:
                width = None if whole <= room else widths[number]
                table.add_column(name, justify="right", overflow="fold", width=width)
            for name, counts in self.rows:
                table.add_row(name, *(str(counts[number]) for number, _ in chosen))
            yield table

    def _width(self, number: int) -> int:
        words = shown(self.columns[number]).split()
        cells = [str(counts[number]) for _, counts in self.rows]
        return min(_WIDEST, max(map(cell_len, [*words, *cells]), default=0))


def _plain(cell: Any) -> Any:
    return Text(shown(cell)) if isinstance(cell, str) else cell


def bar(share: float) -> str:
    """Draw a share, 0 to 1, as a bar of `BAR` columns, rounded to an eighth of a column."""
    whole, eighths = divmod(math.floor(8 * BAR * share + 0.5), 8)
    return ("█" * whole + _EIGHTHS[eighths].strip()).ljust(BAR)


def check_format(format: ResultFormat | None, out: object) -> None:
    """Refuse a format of standard output beside a file, whose suffix gives its format.

    Raises:
        MMERError: there are both.
    """
    if format is not None and out:
        raise MMERError(
            Parameter("format"),
            " is of standard output, and the suffix of a file gives its format; leave it out, or ",
            Parameter("out"),
        )


def result_format(asked: ResultFormat | None) -> ResultFormat:
    """Give the format that was asked for; by default, a table on a terminal and JSON lines elsewhere."""
    return asked or ("table" if sys.stdout.isatty() else "jsonl")


def results() -> Console:
    """Make a console for results, on standard output."""
    return PlainConsole()


def messages() -> Console:
    """Make a console for messages and bars, on standard error."""
    return PlainConsole(stderr=True)


def tell(message: object, console: Console | None = None, *, style: str = "") -> None:
    """Print a message, on standard error unless a console is given: one line, which a terminal breaks between words."""
    console = console or messages()
    console.print(Text(one_line(str(message)), style=style), soft_wrap=not console.file.isatty())


def tell_errors(errors: Sequence[str]) -> None:
    """Print the first errors of many inputs, and how many more there are; a table has all."""
    for error in errors[:_ERRORS]:
        tell(f"mmer: {error}")
    if len(errors) > _ERRORS:
        tell(f"mmer: and {len(errors) - _ERRORS} more")


def print_list(lines: str | Text) -> None:
    """Print lines on standard output; a terminal breaks them between words, and goes on below their last column."""
    console = results()
    if not console.file.isatty():
        console.print(lines, soft_wrap=True)
        return
    broken: list[Text] = []
    for line in (Text(lines) if isinstance(lines, str) else lines).split("\n", allow_blank=True):
        if cell_len(line.plain) <= console.width:
            broken.append(line)
            continue
        last_column = re.split(r"\s\s+", line.plain)[-1]
        indent = len(line.plain) - len(last_column)
        if 4 * indent > 3 * console.width:
            indent = 4
        start, rest = line.divide([indent])
        first, *others = rest.wrap(console, console.width - indent)
        broken += [start + first, *(Text(" " * indent) + other for other in others)]
    console.print(Text("\n").join(broken))


def print_result(text: object) -> None:
    """Print a line on standard output: unchanged to a program, with control characters as symbols on a terminal."""
    line = str(text)
    print(one_line(line) if sys.stdout.isatty() else line, flush=True)


def use_utf8() -> None:
    """Write UTF-8 to standard output and standard error whatever the locale, file names byte for byte."""
    # A stream that the parent process has closed is None.
    sys.stdin = sys.stdin or TextIOWrapper(BytesIO())
    sys.stdout = sys.stdout or StringIO()
    sys.stderr = sys.stderr or StringIO()
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)
