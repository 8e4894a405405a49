"""Transcripts: annotations, and normalization for comparison."""

import re
import unicodedata

from mmer.plain_text import valid

_SQUARE_TAG = re.compile(r"\[[^\[\]]*\]")
_ROUND_TAG = re.compile(r"\([^()]*\)")
_ASCII_WORD = re.compile(r"[a-z0-9']+")
# Soft hyphens, joiners and marks of direction. A zero width space or non-joiner stands between words or their parts.
_INVISIBLE = re.compile("[\u00ad\u200d-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_SOUNDS = {"laughter": " LG ", "lg": " LG ", "breathing": " BR ", "br": " BR "}
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\u00b4", "'"))


def strip_annotations(text: str) -> str:
    """Drop what was not said: `[LAUGHTER]` and `(breath)`, with the blanks around them collapsed into one.

    >>> strip_annotations("Well. [LAUGHTER] I know. (sighs)")
    'Well. I know.'
    """
    return " ".join(_ROUND_TAG.sub(" ", _SQUARE_TAG.sub(" ", valid(text))).split())


def spell_sounds(text: str) -> str:
    """Write laughter and breathing as the words LG and BR, as the CTC targets of the published code of MMER do.

    >>> spell_sounds("Cat babies. [LAUGHTER]")
    'Cat babies.  LG '
    """
    return _SQUARE_TAG.sub(lambda tag: _SOUNDS.get(tag[0][1:-1].strip().lower(), tag[0]), text)


def normalize_transcript(text: str) -> str:
    """Normalize a transcript for comparison.

    Apply NFKC and lower case, drop `[...]` tags, and make curly apostrophes straight. Keep letters (with their marks),
    digits and apostrophes of any script, drop invisible characters within words, such as soft hyphens, replace
    everything else by blanks, and collapse these.

    >>> normalize_transcript("[LAUGHTER] I’m 30 -- über-TIRED!")
    "i'm 30 über tired"
    """
    text = _SQUARE_TAG.sub(" ", text)
    if text.isascii():  # the general rule below gives the same, and takes five times as long
        return " ".join(_ASCII_WORD.findall(text.lower()))
    # Apostrophes first: NFKC would decompose a spacing acute accent into a blank and a combining one.
    text = _INVISIBLE.sub("", text).translate(_APOSTROPHES)
    text = unicodedata.normalize("NFKC", text).lower()
    kept = (c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in text)
    return " ".join("".join(kept).split())
