"""Interfaces of the generators of a view's words and sound."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float32]


Settings = Mapping[str, str | float | bool | None]
"""Settings of a generator, or the random choices that it made."""


class TextGenerator(Protocol):
    """Generator of the words of views.

    Attributes:
        name: its name in the column `text_generator`.
        settings: its settings.
        languages: languages that it reads; None for any.
    """

    name: str
    settings: Settings
    languages: Collection[str] | None

    def __call__(self, texts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """Return new words for each non-blank text, deterministically given texts and seeds."""
        ...


@dataclass(frozen=True, slots=True)
class Material:
    """Input of a speech generator.

    Attributes:
        waveform: (samples,) source utterance, mono, 16 kHz.
        text: text of the view; None where there is no transcript.
        language: language of the text, such as `en`.
        reference: (samples,) another speaker with the same emotion, for a generator that clones.
    """

    waveform: Waveform
    text: str | None
    language: str | None
    reference: Waveform | None = None


@dataclass(frozen=True, slots=True)
class Sound:
    """Sound of a view.

    Attributes:
        waveform: (samples,) mono, 16 kHz, of any level.
        settings: the random choices made.
        voice: name of a synthetic voice, such as `espeak:en+f1`; None for the voice of the source's speaker or of a
            cloned one.
    """

    waveform: Waveform
    settings: Settings
    voice: str | None = None


class SpeechGenerator(Protocol):
    """Generator of the sound of views.

    Attributes:
        name: its name in the column `speech_generator`.
        settings: its settings.
        languages: languages that it speaks; None for any, or if it does not speak.
        speaks: whether it speaks the text of the view; otherwise it keeps the words of the recording.
        clones: whether it needs a `reference` for the voice.
    """

    name: str
    settings: Settings
    languages: Collection[str] | None
    speaks: bool
    clones: bool

    def __call__(self, material: Material, seed: int) -> Sound:
        """Make the sound of one view, deterministically given material and seed.

        Raises:
            MMERError: the sound cannot be made from this material.
        """
        ...
