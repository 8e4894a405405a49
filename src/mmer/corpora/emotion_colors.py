"""Colors of emotions: the same in every picture and page, and the same for an emotion whatever the other labels are."""

from collections.abc import Iterable
from itertools import cycle
from typing import NamedTuple

from mmer.corpora.labels import named_emotion


class EmotionColor(NamedTuple):
    """Color of an emotion, `#rrggbb`; each has a contrast of 3:1 or more with the grounds of its theme.

    Attributes:
        light: on light grounds, which is also that of pictures.
        dark: on dark grounds.
    """

    light: str
    dark: str

    @property
    def css(self) -> str:
        """The color that follows the theme of a page whose `color-scheme` is `light dark`."""
        return f"light-dark({self.light}, {self.dark})"


# Chosen so that any two differ with every kind of color vision, simulated as Machado et al. (2009) do.
NAMED = {
    "angry": EmotionColor("#880e10", "#f3250e"),
    "happy": EmotionColor("#9f7602", "#f2b728"),
    "sad": EmotionColor("#2a7ef6", "#2979f6"),
    "neutral": EmotionColor("#6f7e8e", "#747d89"),
    "fearful": EmotionColor("#5e1c9c", "#cc88eb"),
    "disgusted": EmotionColor("#1d8051", "#0ac684"),
    "surprised": EmotionColor("#6b0f44", "#f3cce0"),
}
"""Colors of common emotions, by canonical name."""
OTHER = (
    EmotionColor("#00879c", "#5fd8e8"),
    EmotionColor("#7a5230", "#d0a070"),
    EmotionColor("#5c7a00", "#b5d14a"),
    EmotionColor("#a0527a", "#e0a0c0"),
    EmotionColor("#3b4fc0", "#93a4ff"),
)
"""Colors that other labels get in turn; after them, those of `NAMED` that are not taken."""


def emotion_colors(labels: Iterable[str]) -> dict[str, EmotionColor]:
    """Choose a color for each label.

    Args:
        labels: emotions of a model. A name of a common emotion in any writing, such as `Anger`, gets its color; the
            others get what is left, in their order, and share colors once all are taken.
    """
    names = {label: named_emotion(label) for label in labels}
    left = cycle([*OTHER, *(color for name, color in NAMED.items() if name not in names.values())])
    return {label: NAMED[name] if name in NAMED else next(left) for label, name in names.items()}
