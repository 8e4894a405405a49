"""Text that users wrote, as data: nothing in it is an encoding error, a terminal's command or the end of a line."""

import json
import os
import re
from typing import Any

RIGHT_TO_LEFT = re.compile("[{0}](?:[{0}\\s]*[{0}])?".format("\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"))
"""Words written from right to left, as in Arabic and Hebrew."""

_COUNTABLE = {"speaker", "session", "dialogue", "fold"}
"""Columns whose plural is known."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_LINE_END = re.compile(r"\r\n|\n|\r")
# What a terminal obeys, and what turns the direction of the text after it. Line feeds and tabs stay.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# What JSON need not escape, but terminals obey and other programs take for the end of a line.
_UNSEEN = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def valid(text: str) -> str:
    r"""Give text that UTF-8 can encode.

    Bytes of a file name that are not UTF-8 become `\xNN`, as in `caf\xe9.wav`; any other half of a surrogate pair
    becomes U+FFFD.
    """
    return _SURROGATE.sub(_without_surrogate, text)


def _without_surrogate(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else "\ufffd"


def whole(value: Any) -> Any:
    """Give a value that a JSON file held, with U+FFFD in place of halves of characters in its text.

    Halves that stand for bytes of a file name stay, so that the file is found.
    """
    return _HALF.sub("\ufffd", value) if isinstance(value, str) else value


def shown(text: str) -> str:
    """Give text that is safe to show: valid, and a symbol of the same width in place of each control character."""
    return _COMMANDS.sub(_symbol, valid(text))


def _symbol(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def one_line(text: str) -> str:
    """Give text that is safe to show on one line."""
    return " ".join(_LINE_END.split(shown(text).replace("\t", " ")))


def shortened(text: str, most: int) -> str:
    """Cut text to `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def name_of(path: str | os.PathLike[str]) -> str:
    """Give the name of a file or a folder, also where the path to it is `.` or ends in `..`."""
    return os.path.basename(os.path.abspath(path))


def lines_of(text: str) -> list[str]:
    r"""Split text where files end their lines, at `\n`, `\r\n` and `\r`.

    `str.splitlines` also splits at U+2028, U+0085, `\x1c` and others, which ids and transcripts may hold.
    """
    lines = _LINE_END.split(text)
    return lines[:-1] if not lines[-1] else lines


def counted(number: int, what: str, verb: str = "", verb_of_many: str = "", *, of: int | None = None) -> str:
    """Give a number with its noun, and a verb in the form that goes with it.

    Args:
        number: how many.
        what: the noun, as `speaker` in `1 speaker` and `2 speakers`.
        verb: after one, as `is` in `1 speaker is`.
        verb_of_many: after any other number, as `are` in `2 speakers are`.
        of: how many there are in all, as 5 in `1 of 5 speakers is`.
    """
    noun = what if (number if of is None else of) == 1 else f"{what}s"
    amount = f"{number}" if of is None else f"{number} of {of}"
    return " ".join(filter(None, (amount, noun, verb if number == 1 else verb_of_many)))


def points(difference: float) -> str:
    """Write a difference of shares in percentage points.

    >>> points(0.4375 - 0.4), f"{100 * (0.4375 - 0.4):+.1f}"
    ('+3.8', '+3.7')
    """
    return f"{100 * round(difference, 9):+z.1f}"  # without what the subtraction of binary numbers leaves


def named_groups(column: str, number: int | None = None, which: str = "") -> str:
    """Name the groups of a column: `3 speakers`, `3 other speakers`, or `3 values of 'batch'` of a user's column."""
    noun, of = (column, "") if column in _COUNTABLE else ("value", f" of {column!r}")
    noun = f"{which}{noun}"
    return f"{noun}s{of}" if number is None else f"{counted(number, noun)}{of}"


def json_text(content: Any, *, indent: int | None = None, allow_nan: bool = False) -> str:
    """Give `content` as JSON that UTF-8 can encode and a terminal can show, with its text changed as by `valid`.

    Raises:
        ValueError: a number is not finite, and `allow_nan` is false.
    """
    text = json.dumps(content, ensure_ascii=False, allow_nan=allow_nan, indent=indent)
    text = _SURROGATE.sub(lambda found: json.dumps(_without_surrogate(found), ensure_ascii=False)[1:-1], text)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
