"""Canonical names of emotions.

Speech corpora name the same emotion in many ways (`ang`, `anger`, `Angry`). Readers give every utterance one of the
canonical names below and keep the corpus's own name in `original_emotion`. One-letter codes are not included:
F is fear in one corpus and happiness in another, so a corpus that uses them has its own table in its reader.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from mmer.errors import CorpusError

ALIASES: dict[str, tuple[str, ...]] = {
    "angry": ("ang", "anger"),
    "happy": ("hap", "happiness", "joy", "joyful"),
    "sad": ("sadness",),
    "neutral": ("neu", "neutrality", "neutral state"),
    "fearful": ("fea", "fear", "afraid"),
    "surprised": ("sur", "surprise", "pleasant surprise", "pleasantly surprised", "ps"),
    "disgusted": ("dis", "disgust"),
    "calm": ("calmness",),
    "bored": ("boredom",),
    "excited": ("exc", "excitement"),
    "frustrated": ("fru", "frustration"),
    "contemptuous": ("contempt",),
    "amused": ("amusement",),
    "anxious": ("anxiety",),
    "apologetic": (),
    "assertive": (),
    "concerned": (),
    "disappointed": ("disappointment",),
    "encouraging": (),
    "enthusiastic": ("enthusiasm",),
    "pained": ("pain",),
    "pleased": ("pleasure",),
    "poker": (),
    "sarcastic": ("sarcasm",),
    "sleepy": ("sleepiness",),
    "other": ("oth",),
}
"""Canonical name of each emotion, with its other names in corpora."""

_UNDECIDED = {"xxx", "no agreement", "unknown", ""}
_CANONICAL = {alias: name for name, aliases in ALIASES.items() for alias in (name, *aliases)}


def canonical(label: str, source: Path | None = None) -> str | None:
    """Return the canonical name of an emotion, or None for a label that means that raters did not agree.

    Args:
        label: the label of a corpus.
        source: the file that has it, for the error.

    >>> canonical("Anger"), canonical("exc"), canonical("xxx")
    ('angry', 'excited', None)

    Raises:
        CorpusError: the label is unknown; the message names the nearest known one.
    """
    key = " ".join(label.lower().replace("_", " ").split())
    if key in _UNDECIDED:
        return None
    if key not in _CANONICAL:
        where = f"{source}: " if source else ""
        raise CorpusError(
            f"{where}unknown emotion {label!r}{nearest(key, _CANONICAL)}; known are {', '.join(ALIASES)}"
        )
    return _CANONICAL[key]


def named_emotion(word: str) -> str | None:
    """Return the canonical name of an emotion that a word in any writing names, or None for any other word."""
    return _CANONICAL.get(" ".join(word.lower().replace("_", " ").split()))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `, the nearest is 'x'` for an error message, or nothing if no name is near."""
    matches = get_close_matches(name, list(known), 1, cutoff=0.5)
    return f", the nearest is {matches[0]!r}" if matches else ""


def quoting(name: str, known: Iterable[str]) -> str:
    """Return how to write a name in a list of a setting, for an error message, or nothing if this is no part of one
    that is read as several or without its marks.
    """
    marked = any(name in other and re.search(r"""[,"'\[\]]""", other) for other in known)
    return "; put a name with commas, brackets or quotation marks into quotation marks" if marked else ""
