"""The interfaces of what makes the words and the sound of a view that is written to disk."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float32]


class TextGenerator(Protocol):
    """Makes the words of views.

    Attributes:
        name: how the column `text_generator` calls it.
        settings: what it was given, as JSON knows it.
        languages: what it can read; None for any.
    """

    name: str
    settings: dict[str, Any]
    languages: Collection[str] | None

    def __call__(self, texts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """Other words for each of the texts, none of which is blank; the same texts and seeds give the same ones."""
        ...


@dataclass(frozen=True, slots=True)
class Material:
    """What the sound of a view is made of.

    Attributes:
        waveform: (samples,) of the source utterance, mono, 16 kHz.
        text: what the view says; None where nobody wrote it down.
        language: of the text, such as `en`.
        reference: (samples,) of another speaker who expresses the same emotion, for a generator that clones.
    """

    waveform: Waveform
    text: str | None
    language: str | None
    reference: Waveform | None = None


@dataclass(frozen=True, slots=True)
class Sound:
    """The sound of a view.

    Attributes:
        waveform: (samples,) mono, 16 kHz, of any level.
        settings: what was drawn to make it, as JSON knows it.
        voice: name of a voice that is nobody's of the corpus, as `espeak:en+f1`; None where it is that of the
            source's speaker or of the one who was cloned.
    """

    waveform: Waveform
    settings: dict[str, Any]
    voice: str | None = None


class SpeechGenerator(Protocol):
    """Makes the sound of views.

    Attributes:
        name: how the column `speech_generator` calls it.
        settings: what it was given, as JSON knows it.
        languages: what it can speak; None for any, or where it speaks none.
        speaks: whether it says the text of the view; otherwise the words of the recording stay.
        clones: whether it wants a `reference` to speak in the voice of.
    """

    name: str
    settings: dict[str, Any]
    languages: Collection[str] | None
    speaks: bool
    clones: bool

    def __call__(self, material: Material, seed: int) -> Sound:
        """Make the sound of one view; the same material and seed give the same one.

        Raises:
            MMERError: it cannot be made of this material.
        """
        ...
