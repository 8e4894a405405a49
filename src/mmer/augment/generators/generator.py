"""What makes the words and the sound of a view that is written to disk: two interfaces, and who fills them in."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmer.augment.text import perturb
from mmer.corpora.labels import nearest
from mmer.errors import MMERError

Waveform = NDArray[np.float32]


class TextGenerator(Protocol):
    """Makes the words of views.

    Attributes:
        name: how the column `text_generator` calls it.
        settings: what it was given, as JSON knows it.
        languages: what it can read; null for any.
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
        text: what the view says; null where nobody wrote it down.
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
        voice: name of a voice that is nobody's of the corpus, as `espeak:en+f1`; null where it is that of the
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
        languages: what it can speak; null for any, or where it speaks none.
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


class Perturbation:
    """Leaves out, swaps and repeats words, as `perturb`, until something has changed; at most 20 times."""

    name = "perturb"
    languages: Collection[str] | None = None

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}

    def __call__(self, texts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """One text for each."""
        made = []
        for text, seed in zip(texts, seeds, strict=True):
            tries = (perturb(text, seed + attempt) for attempt in range(20))
            made.append(next((other for other in tries if other.split() != text.split()), text))
        return made


def text_generator(name: str, *, sample: bool = False, device: str | None = None) -> TextGenerator | None:
    """The generator of words that the command line names; null for `none`.

    Args:
        name: `perturb`, `none`, or what `BackTranslation.named` takes after `marian:`.
        sample: back-translations are drawn, not the most likely ones.
        device: of a translation model.

    Raises:
        MMERError: no such generator, or one that cannot be loaded.
    """
    if name == "none":
        return None
    if name == "perturb":
        return Perturbation()
    if name.startswith("marian:"):
        from mmer.augment.generators.translation import BackTranslation

        return BackTranslation.named(name.removeprefix("marian:"), sample=sample, device=device)
    known = ["marian:en-de", "perturb", "none"]
    raise MMERError(f"--text {name!r}{nearest(name, known)}; allowed are {', '.join(known)}")


def speech_generators(names: Sequence[str], *, device: str | None = None) -> list[SpeechGenerator]:
    """The generators of sound that the command line names; none for `none`.

    Raises:
        MMERError: no such generator, one named twice, or one that cannot be loaded.
    """
    from mmer.augment.generators.cloning import YourTTS
    from mmer.augment.generators.effects import Effects
    from mmer.augment.generators.espeak_voices import ESpeakVoices
    from mmer.augment.generators.world import World

    known: dict[str, Callable[[], SpeechGenerator]] = {
        "espeak": ESpeakVoices,
        "world": World,
        "effects": Effects,
        "yourtts": lambda: YourTTS(device=device),
    }
    if list(names) == ["none"]:
        return []
    for name in names:
        if name not in known:
            raise MMERError(f"--speech {name!r}{nearest(name, known)}; allowed are {', '.join(known)}, none")
        if names.count(name) > 1:
            raise MMERError(f"--speech names {name} twice; --views N makes several views of each")
    return [known[name]() for name in names]
