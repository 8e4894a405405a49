"""Contributions of words, moments and the whole voice to an answer, and a sentence that says what stands out."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmer.features.functionals import Kind
from mmer.inference.prediction import Prediction

STANDS_OUT = 0.2
"""Smallest contribution in log-odds that a sentence calls a reason; it moves a probability of 50 % by 5 points."""


@dataclass(frozen=True)
class Word:
    """The contribution of a word to the answer.

    Attributes:
        word: as the model reads it.
        share: contribution to the log-odds, by integrated gradients.
        drop: decrease of the log-odds without the word.
    """

    word: str
    share: float
    drop: float


@dataclass(frozen=True)
class Moment:
    """The contribution of a part of the sound to the answer.

    Attributes:
        start, end: seconds.
        share: contribution to the log-odds, by integrated gradients.
        drop: decrease of the log-odds with `average_sound` in its place, and with the functionals of the rest.
    """

    start: float
    end: float
    share: float
    drop: float


@dataclass(frozen=True)
class Trait:
    """The contribution of one kind of functionals, which describe the voice over the whole clip.

    Attributes:
        kind: what they describe.
        share: contribution to the log-odds, by integrated gradients.
        drop: decrease of the log-odds with those of an average clip in their place.
    """

    kind: Kind
    share: float
    drop: float


def sentence(
    prediction: Prediction,
    words: Sequence[Word],
    moments: Sequence[Moment],
    traits: Sequence[Trait],
    sound_share: float | None,
    text_share: float | None,
) -> str:
    """Say in one sentence why the model gave this answer and not the next one, with the numbers it rests on.

    The voice and the words are reasons if their shares reach `STANDS_OUT`; a word, a moment and a trait of the voice if
    their drops do. Where none does, the sentence says how little they matter. Where the voice or the words hardly
    matter, but leaving out a moment or a word does, the two measures differ, and the sentence names no moment or word.

    Args:
        prediction: an answer.
        words, moments, traits, sound_share, text_share: see `mmer.inference.explain.explanation.Explanation`.
    """
    (label, probability), *others = prediction.ranking
    lead = f"Answer: {label} ({probability:.0%})"
    if others:
        lead += f" rather than {others[0][0]} ({others[0][1]:.0%})"
    shares = {"voice": sound_share, "words": text_share}
    sides = {name: share for name, share in shares.items() if share is not None}
    reasons = sorted((name for name in sides if sides[name] >= STANDS_OUT), key=lambda name: -sides[name])
    told = {name: f"{share:+z.2f}" for name, share in sides.items()}
    if not reasons:
        listed = " and ".join(f"{name} {share}" for name, share in told.items())
        cause = f"though nothing speaks for it clearly: {listed} log-odds"
    elif len(reasons) == 2 and sides[reasons[1]] >= sides[reasons[0]] / 2:
        cause = f"because of the {reasons[0]} ({told[reasons[0]]} log-odds) and the {reasons[1]} ({told[reasons[1]]})"
    else:
        mainly = "mainly " if len(sides) > 1 else ""
        cause = f"{mainly}because of the {reasons[0]} ({told[reasons[0]]} log-odds)"
        rest = [name for name in sides if name != reasons[0]]
        cause += "".join(f", while the {name} {_lesser(sides[name])} ({told[name]})" for name in rest)
    parts = [f"{lead}, {cause}"]
    if traits and _is_consistent(sound_share, traits):
        parts += _of_traits(traits)
    if moments and _is_consistent(sound_share, moments):
        parts.append(_of_moments(moments))
    if words and _is_consistent(text_share, words):
        parts.append(_of_words(words))
    return f"{'; '.join(parts)}."


def _is_consistent(share: float | None, pieces: Sequence[Word] | Sequence[Moment] | Sequence[Trait]) -> bool:
    """Tell whether pieces of a side can be named: not where the side hardly matters and one of its pieces would."""
    hardly = share is not None and abs(share) < STANDS_OUT
    return not (hardly and max(abs(piece.drop) for piece in pieces) >= STANDS_OUT)


def _lesser(share: float) -> str:
    """Say how much the side matters that is not the main reason."""
    if share <= -STANDS_OUT:
        return "spoke against it"
    return "hardly mattered" if share < STANDS_OUT else "mattered less"


def _of_traits(traits: Sequence[Trait]) -> list[str]:
    """Name the trait of the voice that counts most, and the one that speaks most against the answer."""
    most, least = max(traits, key=lambda trait: trait.drop), min(traits, key=lambda trait: trait.drop)
    said = []
    if most.drop >= STANDS_OUT:
        said.append(f"the {most.kind} of the voice counts most ({-most.drop:+.2f} where it is average)")
    if least.drop <= -STANDS_OUT:
        said.append(f"its {least.kind} speaks against it ({-least.drop:+.2f} where it is average)")
    return said


def _of_moments(moments: Sequence[Moment]) -> str:
    """Say where the sound counts most: around the moment with the largest effect, while effects reach half of it."""
    drops = [moment.drop for moment in moments]
    largest = max(drops, key=abs)
    if abs(largest) < STANDS_OUT:
        length = moments[0].end - moments[0].start
        return f"no moment of {length:.2f} s moves the answer by more than {_most(drops)}"
    first = last = drops.index(largest)
    while first > 0 and drops[first - 1] / largest >= 0.5:
        first -= 1
    while last < len(drops) - 1 and drops[last + 1] / largest >= 0.5:
        last += 1
    counts = "counts most" if largest > 0 else "speaks most against it"
    span = f"in {moments[first].start:.1f}-{moments[last].end:.1f} s"
    if last + 1 - first > len(drops) / 2:
        span = "throughout"
    return f"the sound {counts} {span} (up to {-largest:+.2f} where it is blank)"


def _of_words(words: Sequence[Word]) -> str:
    strongest = max(words, key=lambda word: abs(word.drop))
    if abs(strongest.drop) < STANDS_OUT:
        return f"no word moves the answer by more than {_most([word.drop for word in words])}"
    counts = "counts most" if strongest.drop > 0 else "speaks most against it"
    return f"the word “{strongest.word}” {counts} ({-strongest.drop:+.2f} without it)"


def _most(drops: Sequence[float]) -> str:
    """Give a bound of all magnitudes, rounded up."""
    hundredths = int(100 * max(map(abs, drops))) + 1
    return f"{hundredths / 100:.2f}"
