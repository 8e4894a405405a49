"""Normalization and comparison of names of speakers, emotions, columns and files."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

# Zero-width characters that editors, web pages and spreadsheets leave; joiners inside a word are part of its spelling.
_INVISIBLE = re.compile(
    "[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]|^[\u200c\u200d]+|[\u200c\u200d]+$"
)


def tidy(name: str) -> str:
    r"""Normalize a name: Unicode form C, single spaces, none at the ends, no invisible characters.

    Names that differ in nothing else look the same, so they are the same name.

    >>> tidy("  Zoe\u0308\u00a0 K. \u200b")
    'Zoë K.'
    """
    if name.isascii() and " ".join(name.split()) == name:
        return name
    return " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFC", name)).split())


def folded(name: str) -> str:
    """Fold a name for comparison: case-insensitive, in Unicode form KC.

    >>> folded("ANNA\\u00a0K.") == folded("Anna k.")
    True
    """
    text = unicodedata.normalize("NFKC", tidy(name)).casefold()
    return unicodedata.normalize("NFKC", " ".join(text.replace("\u200c", "").replace("\u200d", "").split()))


def meant(name: str, known: Iterable[str]) -> str | None:
    """Find the known name that differs from this one at most in case, blanks or Unicode form.

    Returns:
        The name; None where there is none or several.
    """
    known = list(known)
    if name in known:
        return name
    like = [other for other in known if folded(other) == folded(name)]
    return like[0] if len(like) == 1 else None


def alike(names: Iterable[str]) -> set[str]:
    """Find names that differ from another one at most in case, blanks or Unicode form.

    Files of these names are one on macOS and Windows.

    >>> sorted(alike(["Anna", "anna", "Ben"]))
    ['Anna', 'anna']
    """
    forms = {name: folded(name) for name in names}
    counts = Counter(forms.values())
    return {name for name, form in forms.items() if counts[form] > 1}


def header(name: str) -> str:
    """Normalize the name of a column for comparison.

    >>> header(" Utterance ID")
    'utterance_id'
    """
    return re.sub(r"[ -]", "_", folded(name))
