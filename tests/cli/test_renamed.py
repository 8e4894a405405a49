"""Every old name and option still does what it did, with one line that names the new one."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer.main
from command_line import commands, options
from commands import Outcome, make_recordings

from mmer.cli.main import app
from mmer.cli.renamed import COMMANDS, KEPT, OPTIONS, renamed

ROOT: Any = typer.main.get_command(app)
OLD_COMMANDS = [
    (
        "baseline majority compact data.corpus=x",
        "crossval --system majority compact data.corpus=x --out baseline",
    ),
    (
        "baseline --out o egemaps compact --per-speaker",
        "crossval --out o --system egemaps compact --per-speaker",
    ),
    ("bundle M -o m.mmer", "model export M -o m.mmer"),
    ("model bundle M -o m.mmer", "model export M -o m.mmer"),
    ("card RUN", "report RUN"),
    ("corpus convert kaldi:data --audio a x.csv", "corpus prepare kaldi:data --audio a --out x.csv"),
    ("corpus convert s t --label-map m.yaml", "corpus prepare s --out t --rename m.yaml"),
    ("corpus list", "corpus prepare"),
    (
        "corpus merge a.csv b.csv -o c.csv --label-map m.yaml",
        "corpus prepare a.csv b.csv -o c.csv --rename m.yaml",
    ),
    ("doctor M --onnx F", "model check M F"),
    ("export M --onnx --int8 -o F", "model export M --int8 -o F"),
    ("import-checkpoint --text-encoder t O.pt OUT", "model import --text-encoder t O.pt --out OUT"),
]
"""An old command line, and what is run."""

Command = Callable[..., Outcome]


@pytest.mark.parametrize(("old", "new"), OLD_COMMANDS)
def test_old_commands(old: str, new: str) -> None:
    translated, notes = renamed(["--debug", *old.split()], ROOT)
    assert translated == ["--debug", *new.split()]
    assert notes[0].startswith("'mmer ")
    assert accepted(translated[1:])


def test_every_old_command_is_tested() -> None:
    assert all(any(old.startswith(name) for old, _ in OLD_COMMANDS) for name in COMMANDS)
    now = dict(commands())
    assert all(old.new in now for old in COMMANDS.values())
    assert not set(COMMANDS) & set(now)


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [(command, old, new) for command, table in OPTIONS.items() for old, new in table.items()],
)
@pytest.mark.parametrize("joined", [False, True])
def test_old_options(command: str, old: str, new: str | None, joined: bool) -> None:
    value = ["3"] if new is None or "{}" in new else []
    given = [f"{old}={value[0]}"] if joined and value else [old, *value]
    translated, notes = renamed([*command.split(), *given, "MODEL", "more"], ROOT)
    expected = (new or "").replace("{}", "3").split()
    if expected and expected[0].startswith("--"):
        assert translated == [*command.split(), *expected, "MODEL", "more"]
    else:  # settings and arguments come last
        assert translated == [*command.split(), "MODEL", "more", *expected]
    assert len(notes) == 1
    assert notes[0].startswith(old)
    assert old not in options(dict(commands())[command])


def test_hidden_options_are_kept() -> None:
    for command, table in KEPT.items():
        for old in table:
            translated, notes = renamed([*command.split(), "M", old, "x"], ROOT)
            assert (translated, len(notes)) == ([*command.split(), "M", old, "x"], 1)
            assert accepted([*command.split(), "M", "C", old, "x"])
            assert old not in options(dict(commands())[command])


def test_what_is_new_is_left_alone() -> None:
    for line in (
        "predict M a.wav -o x.csv",
        "--version",
        "",
        "serve M port=1",
        "corpus",
        "robustness M C -- --json",
    ):
        assert renamed(line.split(), ROOT) == (line.split(), [])
    assert renamed(["compare", "--", "--json", "a"], ROOT) == (["compare", "--", "--json", "a"], [])
    repeated = ["serve", "M", "--allow-host", "a", "--allow-host", "b"]
    assert renamed(repeated, ROOT)[0] == ["serve", "M", "allow_host=a,b"]


def test_old_names_in_real_runs(mmer: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_recordings(tmp_path / "said")
    out = tmp_path / "table.csv"
    done = mmer("corpus", "convert", tmp_path / "said", out)
    assert (done.code, len(pd.read_csv(out))) == (0, 24)
    first, *rest = done.err.splitlines()
    assert first == (
        "mmer: 'mmer corpus convert' is now 'mmer corpus prepare --out OUT'; the old spelling goes away with the next "
        "release"
    )
    assert not any("now" in line for line in rest)
    monkeypatch.chdir(tmp_path)
    asked = ["compact", f"data.corpus={tmp_path / 'said'}"]
    done = mmer("baseline", "majority", *asked)
    assert done.code == 0, done.err
    new = mmer("crossval", *asked, "--system", "majority", "--out", "again")
    assert new.code == 0, new.err
    before, after = (
        pd.read_parquet(tmp_path / name / "predictions.parquet") for name in ("baseline", "again")
    )
    pd.testing.assert_frame_equal(before, after)
    assert mmer("compare", "baseline", "again", "--json", "c.json").code == 0
    assert (tmp_path / "c.json").is_file()


def test_the_help_of_an_old_name_is_that_of_the_new_one(mmer: Command) -> None:
    done = mmer("export", "--help")
    assert (done.code, "ONNX" in done.out) == (0, True)
    assert "'mmer export' is now 'mmer model export'" in done.err
    assert "export" not in mmer("--help").out.split()


def accepted(words: list[str]) -> bool:
    """Whether click finds the command and each option."""
    command, rest = ROOT, words
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    known = [option for parameter in command.params for option in parameter.opts]
    return all(word in known for word in rest if word.startswith("-"))


def test_standard_output_holds_no_note(mmer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    listed = mmer("corpus", "list")
    assert listed.out == mmer("corpus", "prepare").out
    assert len(listed.err.splitlines()) == 1
