"""Synthesis of views with eSpeak NG's voices, which belong to no speaker."""

from collections.abc import Collection

import numpy as np
import soxr

from mmer.audio.load import SAMPLING_RATE
from mmer.augment.generators.generator import Material, Settings, Sound
from mmer.corpora.synthetic.espeak import ESpeak, without_silence
from mmer.corpora.synthetic.spoken import VARIANTS
from mmer.errors import MMERError

_NAMES = {"zh": "cmn"}  # languages with another code in eSpeak NG
_SPANS = {"rate": (140, 220), "pitch": (30, 70), "pitch_range": (30, 80)}


class ESpeakVoices:
    """Speech generator that speaks the view's text in the source's language, with a random voice and manner.

    The view uses no voice of the corpus, so it may train in every fold that trains on its source. It does not carry the
    source's emotion either: it teaches a model only that the words are the same.
    """

    name = "espeak"
    languages: Collection[str] | None = None
    speaks = True
    clones = False

    def __init__(self) -> None:
        self.settings: Settings = {}

    def __call__(self, material: Material, seed: int) -> Sound:
        """Speak the text.

        Raises:
            MMERError: there is no text, or eSpeak NG does not speak the language.
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
        # The synthesizer keeps state between utterances; a new one makes each view independent of the others.
        with ESpeak() as synthesizer:
            said = without_silence(synthesizer.synthesize(material.text, voice=voice, volume=100, **drawn))
            said = soxr.resample(said, synthesizer.sampling_rate, SAMPLING_RATE, quality="HQ")
        return Sound(said, drawn, f"espeak:{voice}")
