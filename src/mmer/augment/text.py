"""Perturbation of a transcript for the second view."""

import random
import re
from typing import overload

# Scripts without spaces whose characters carry meaning alone: kana, Han, compatibility Han.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


@overload
def perturb(text: str, seed: int, *, drop: float = ..., swap: float = ..., repeat: float = ...) -> str: ...
@overload
def perturb(text: None, seed: int, *, drop: float = ..., swap: float = ..., repeat: float = ...) -> None: ...
def perturb(
    text: str | None, seed: int, *, drop: float = 0.1, swap: float = 0.05, repeat: float = 0.05
) -> str | None:
    """Leave out, swap and repeat a few words.

    This imitates hesitant speech and errors of a speech recognizer. Unlike the paper's back-translation, it replaces
    and rephrases nothing, so a model learns no synonyms from it. Words are separated by spaces; in Chinese or Japanese
    text without spaces, each character is a word.

    Args:
        text: a transcript in any language; None, empty and blank texts are returned unchanged.
        seed: the same text and seed give the same result.
        drop: probability of deleting a word, 0-1; at least one word remains.
        swap: probability of swapping a word with the next one.
        repeat: probability of repeating a word.

    Returns:
        The text with single spaces between words; all its words occur in `text`.
    """
    if text is None or not text.strip():
        return text
    words, blank = text.split(), " "
    if len(words) == 1 and _UNSPACED.search(text):
        words, blank = list(words[0]), ""
    draw = random.Random(seed)
    words = [word for word in words if draw.random() >= drop] or [draw.choice(words)]
    place = 0
    while place < len(words) - 1:
        if draw.random() < swap:
            words[place], words[place + 1] = words[place + 1], words[place]
            place += 1  # a word moves only once; otherwise it could travel to the end
        place += 1
    return blank.join(word for said in words for word in [said] * (1 + (draw.random() < repeat)))
