"""The words of a view spoken by some voice of eSpeak NG, which is nobody's."""

from collections.abc import Collection
from typing import Any

import numpy as np
import soxr

from mmer.audio.load import SAMPLING_RATE
from mmer.augment.generators.generator import Material, Sound
from mmer.corpora.espeak import ESpeak, without_silence
from mmer.corpora.spoken import VARIANTS
from mmer.errors import MMERError

_NAMES = {"zh": "cmn"}  # languages that eSpeak NG calls otherwise
_SPANS = {"rate": (140, 220), "pitch": (30, 70), "pitch_range": (30, 80)}


class ESpeakVoices:
    """Speaks the text of the view in the language of the source, in a voice and a manner drawn at random.

    No voice of the corpus is used, so such a view is allowed in every fold that trains on its source. Nor is the
    emotion: what a model learns from it is that the words are the same.
    """

    name = "espeak"
    languages: Collection[str] | None = None
    speaks = True
    clones = False

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}

    def __call__(self, material: Material, seed: int) -> Sound:
        """Speak.

        Raises:
            MMERError: nothing to say, or a language that eSpeak NG does not speak.
        """
        if not material.text or not material.text.strip():
            raise MMERError("no text to speak")
        if material.language is None:
            raise MMERError("the language is not known")
        random = np.random.default_rng(seed)
        language = material.language.lower()
        variant = random.choice([name for names in VARIANTS.values() for name in names])
        voice = f"{_NAMES.get(language, language)}+{variant}"
        drawn = {name: int(random.integers(*span, endpoint=True)) for name, span in _SPANS.items()}
        # The synthesizer goes on where the last utterance ended; a new one makes each view independent of the others.
        with ESpeak() as synthesizer:
            said = without_silence(synthesizer.synthesize(material.text, voice=voice, volume=100, **drawn))
            said = soxr.resample(said, synthesizer.sampling_rate, SAMPLING_RATE, quality="HQ")
        return Sound(said, drawn, f"espeak:{voice}")
