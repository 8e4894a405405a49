"""What users wrote is shown as it is, on every console, and never obeyed by a terminal."""

import io
import os
import re
import subprocess
import sys
import time

import pytest
from rich.console import Console
from rich.text import Text

from mmer.display import progress
from mmer.display.progress import counting, speed
from mmer.display.terminal import CountTable, PlainConsole, Table, print_list, tell

NAMES = [
    "[/angry]",
    "[sad]",
    "data [v1]",
    "[bold]b[/bold]",
    ":smile:",
    "\x1b[31mred\x1b[0m",
    "a\x9b2J",
    "\\[",
]


def printed(what: object, console: type[Console] = PlainConsole, **settings: object) -> str:
    file = io.StringIO()
    told = {"width": 120, **settings}
    console(file=file, force_terminal=True, color_system=None, **told).print(what)  # pyright: ignore
    return file.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_text_is_neither_markup_nor_a_command(name: str) -> None:
    safe = name.replace("\x1b", "␛").replace("\x07", "␇").replace("\x9b", "\ufffd")
    assert printed(name) == f"{safe}\n"
    assert safe in printed(Text(name, style="bold"))
    table = Table(title=name)
    table.add_column(name)
    table.add_row(name)
    # On the console of a user of the library, too, who has markup on.
    for console in (PlainConsole, Console):
        shown = printed(table, console)
        assert shown.count(safe) == 3
        assert "\x1b" not in shown
        assert "\x9b" not in shown
    file = io.StringIO()
    tell(f"{name}\nsecond", Console(file=file, width=10))
    assert file.getvalue() == f"{safe} second\n"


def test_a_terminal_breaks_messages_between_words() -> None:
    ours, theirs = os.openpty()
    with open(theirs, "w") as terminal:
        tell("note: a message of several words", Console(file=terminal, width=12))
    lines = os.read(ours, 1000).decode().splitlines()
    assert [line.rstrip() for line in lines] == ["note: a", "message of", "several", "words"]
    os.close(ours)


def test_a_terminal_breaks_lists_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    monkeypatch.setenv("COLUMNS", "12")
    with open(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        print_list("first line\n  second line\na  name of it\nname too  long")
        monkeypatch.undo()
    lines = os.read(ours, 1000).decode().splitlines()
    first, second = ["first line", "  second", "  line"], ["a  name of", "   it"]
    assert [line.rstrip() for line in lines] == [*first, *second, "name too", "    long"]
    os.close(ours)


def test_a_bar_shows_names_as_they_are() -> None:
    for bar in (counting, speed):
        file = io.StringIO()
        with bar(PlainConsole(file=file, force_terminal=True), "reading [/x] {name} \x1b[2J", 3):
            print("a result", flush=True)
        assert "reading [/x] {name} ␛[2J" in file.getvalue()
        assert "a result" not in file.getvalue()


def test_time_left_is_told_off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    file = io.StringIO()
    with counting(PlainConsole(file=file), "judging [/x]", 4) as count:
        count(1)
        time.sleep(0.02)
        count(3)
    with counting(PlainConsole(file=file), "seconds") as count:
        count(5)
    with speed(PlainConsole(file=file), "scoring", 9, 3) as more:
        time.sleep(0.02)
        more(3, 60.0)
    lines = file.getvalue().splitlines()
    assert lines[:3] == ["judging [/x] 1/4", "judging [/x] 3/4  0:00:00 left", "seconds 5"]
    assert lines[3] == "scoring 3/9"
    assert re.fullmatch(r"scoring 6/9  [\d.]+/s, \d+ × real time  0:00:00 left", lines[4])
    assert progress.time_left(3723.4) == "1:02:03 left"


def test_short_work_says_nothing_off_a_terminal() -> None:
    file = io.StringIO()
    with counting(PlainConsole(file=file), "judging", 2) as count:
        count(1)
        count(2)
    assert file.getvalue() == ""


@pytest.mark.parametrize("encoding", ["cp1252", "gbk", "ascii", "utf-8"])
def test_output_is_utf8_whatever_the_locale(encoding: str) -> None:
    program = (
        "import os, sys; from mmer.display.terminal import *; use_utf8();"
        "tell('ł 怒 \\udce9'); print_result('ł ' + os.fsdecode(b'\\xe9')); results().print('怒 \\udce9')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env={"PYTHONIOENCODING": encoding}, check=True
    )
    assert done.stderr == "ł 怒 \\xe9\n".encode()
    assert done.stdout == "ł ".encode() + b"\xe9\n" + "怒 \\xe9\n".encode()


@pytest.mark.parametrize("width", [30, 80, 400])
def test_counts_keep_the_words_of_their_headings_on_every_console(width: int) -> None:
    columns = [
        *("angry", "bored", "frustration with the other", "happiness", "neutral", "relief", "surprised"),
        *("[red]", "x" * 1000, "total"),
    ]
    rows = [
        (f"speaker {row}", [1000 * row + column for column in range(len(columns))]) for row in range(1, 4)
    ]
    shown = printed(CountTable("who speaks", columns, rows), width=width)
    assert max(map(len, shown.splitlines())) <= width
    found = set(re.findall(r"[^\s│┃]+", shown))
    assert {word for heading in columns if "x" not in heading for word in heading.split()} <= found
    assert shown.count("…") == 1
    assert {str(count) for _, counts in rows for count in counts} <= found
    assert all(shown.count(name) == shown.count("who speaks") for name, _ in rows)
    assert (shown.count("who speaks") > 1) == (width < 400)
    assert shown.count("x") == 59
