"""The words of the second view: a simple perturbation."""

import random
import re
from typing import overload

# Scripts written without blanks whose characters mean something alone: kana, Han, compatibility Han.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


@overload
def perturb(text: str, seed: int, *, drop: float = ..., swap: float = ..., repeat: float = ...) -> str: ...
@overload
def perturb(text: None, seed: int, *, drop: float = ..., swap: float = ..., repeat: float = ...) -> None: ...
def perturb(
    text: str | None, seed: int, *, drop: float = 0.1, swap: float = 0.05, repeat: float = 0.05
) -> str | None:
    """Leave out, swap and repeat a few words.

    This is what hesitant speech and a speech recognizer do to a sentence. It is not the paper's
    back-translation: no word is replaced by another and nothing is rephrased, so a model learns no synonyms
    from it. Words are what blanks separate; in Chinese or Japanese text without blanks they are the
    characters.

    Args:
        text: a transcript in any language; None, empty and blank texts come back as they are.
        seed: the same text and seed give the same result.
        drop: probability that a word is left out, 0-1; one word always stays.
        swap: probability that a word changes places with the next one.
        repeat: probability that a word is said twice.

    Returns:
        The text with single blanks between words; its words are words of `text`.
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
            place += 1  # a word moves once: without this it could travel to the end
        place += 1
    return blank.join(word for said in words for word in [said] * (1 + (draw.random() < repeat)))
