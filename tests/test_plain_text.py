"""Text that users wrote: whatever it is, it is encoded, shown and split as text."""

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmer
from mmer.plain_text import (
    counted,
    json_text,
    lines_of,
    name_of,
    named_groups,
    one_line,
    shown,
    valid,
    whole,
)

# Every code point, halves of surrogate pairs too.
ANYTHING = st.text(st.characters())


@given(ANYTHING)
def test_anything_can_be_encoded_and_shown(text: str) -> None:
    assert valid(text).encode() == valid(valid(text)).encode()
    safe = shown(text)
    assert all(character in "\n\t" or character >= " " for character in safe)
    assert not set(safe) & set("\x7f\x9b\u202e\u2066")
    assert "\n" not in one_line(text)
    assert len(valid(text)) == len(safe)


@given(st.dictionaries(ANYTHING, ANYTHING))
def test_json_is_one_line_of_valid_text(content: dict[str, str]) -> None:
    text = json_text(content)
    assert text.splitlines() == [text]
    text.encode()
    assert json.loads(text) == {valid(name): valid(value) for name, value in content.items()}


def test_file_names_that_are_not_utf8_tell_their_bytes() -> None:
    assert valid(os.fsdecode(b"caf\xe9.wav")) == "caf\\xe9.wav"
    assert valid("cut \ud83d") == "cut \ufffd"
    # A table of JSON lines keeps what names a file, and no half of a character.
    assert whole("caf\udce9.wav") == "caf\udce9.wav"
    assert whole("cut \ud83d") == "cut \ufffd"
    assert whole(1.5) == 1.5


def test_a_path_has_a_name_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "latest").symlink_to("run")
    monkeypatch.chdir(tmp_path / "run" / "model")
    assert [name_of(path) for path in (".", "..", "../", "../../x.csv", Path("../../latest"))] == [
        "model",
        "run",
        "run",
        "x.csv",
        "latest",
    ]


def test_lines_end_where_files_end_them() -> None:
    assert lines_of("a\u2028b\x85c\x1cd 1\r\ne\rf\n") == ["a\u2028b\x85c\x1cd 1", "e", "f"]
    assert lines_of("") == []
    assert lines_of("\n\na") == ["", "", "a"]


def test_counts_agree_with_their_noun_and_verb() -> None:
    assert [counted(number, "speaker") for number in (0, 1, 2)] == ["0 speakers", "1 speaker", "2 speakers"]
    assert [counted(number, "speaker", "is", "are") for number in (1, 2)] == [
        "1 speaker is",
        "2 speakers are",
    ]
    assert counted(1, "clip", "has", "have", of=5) == "1 of 5 clips has"
    assert counted(0, "clip", "has", "have", of=1) == "0 of 1 clip have"


def test_no_plural_is_made_of_a_users_word() -> None:
    assert (named_groups("speaker", 1), named_groups("session", 2)) == ("1 speaker", "2 sessions")
    assert named_groups("speaker", 2, "other ") == "2 other speakers"
    assert (named_groups("batch", 1), named_groups("batch", 3)) == (
        "1 value of 'batch'",
        "3 values of 'batch'",
    )
    assert named_groups("epochs") == "values of 'epochs'"


FIXED_PLURAL = re.compile(
    r"\{(?:len\([^{}]*\)|[a-z_.]*(?:count|number|written|utterances|speakers|answered|failed|missing)[^{}:]*)\} "
    r"(?:other |labeled |test |training )*(?:utterances|predictions|clips|speakers|recordings|segments|folds|rows|"
    r"views|transcripts|epochs|files|weights|votes|labels)\b"
)
"""A count in a message before a noun that stays in the plural, which reads "1 utterances"."""


def test_no_message_counts_one_utterances() -> None:
    source = Path(mmer.__file__).parent
    found = [
        f"{path.relative_to(source)}: {line.strip()}"
        for path in sorted(source.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if FIXED_PLURAL.search(line) and " of the {" not in line
    ]
    assert found == []
