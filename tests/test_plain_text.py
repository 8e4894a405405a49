"""Text that users wrote: whatever it is, it is encoded, shown and split as text."""

import json
import os

from hypothesis import given
from hypothesis import strategies as st

from mmer.plain_text import json_text, lines_of, one_line, shown, valid, whole

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


def test_lines_end_where_files_end_them() -> None:
    assert lines_of("a\u2028b\x85c\x1cd 1\r\ne\rf\n") == ["a\u2028b\x85c\x1cd 1", "e", "f"]
    assert lines_of("") == []
    assert lines_of("\n\na") == ["", "", "a"]
