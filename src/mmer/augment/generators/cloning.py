"""Zero-shot voice cloning, the paper's generator of speech views."""

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
import soxr
import torch

from mmer.audio.load import SAMPLING_RATE
from mmer.augment.generators.generator import Material, Settings, Sound
from mmer.augment.speech import seeded
from mmer.errors import MMERError
from mmer.extras import import_extra

YOURTTS = "tts_models/multilingual/multi-dataset/your_tts"
"""Name in coqui-tts; the weights are licensed CC BY-NC-ND 4.0."""

LANGUAGES = {"en", "fr", "pt"}
"""Languages that YourTTS speaks."""


class Synthesizer(Protocol):
    """Synthesizer that speaks in the voice of a recording."""

    def __call__(self, text: str, language: str, reference: Path) -> tuple[Any, int]:
        """Return (samples,) of any numeric type, full scale = ±1, and their rate in Hz.

        Args:
            text: text to speak.
            language: code such as `en`.
            reference: 16 kHz mono WAV file of the voice.
        """
        ...


class YourTTS:
    """Speech generator that speaks the view's text in the voice of another speaker with the same emotion.

    Args:
        synthesizer: the synthesizer; None loads YourTTS through coqui-tts, which downloads it at first use.
        languages: languages of the synthesizer.
        device: `cpu`, `cuda`, ...; the first GPU if there is one.

    Raises:
        MissingExtraError: coqui-tts is not installed.
        MMERError: YourTTS cannot be loaded.
    """

    name = "yourtts"
    speaks = True
    clones = True

    def __init__(
        self,
        synthesizer: Synthesizer | None = None,
        *,
        languages: Collection[str] | None = None,
        device: str | None = None,
    ) -> None:
        self.languages: Collection[str] | None = languages or LANGUAGES
        self.settings: Settings = {"model": YOURTTS if synthesizer is None else "made"}
        self._speak = synthesizer or load_yourtts(device)

    def __call__(self, material: Material, seed: int) -> Sound:
        """Speak the text.

        Raises:
            MMERError: there is no text or no language, or the synthesizer fails.
        """
        if not material.text or not material.text.strip():
            raise MMERError("no text to speak")
        if material.language is None:
            raise MMERError("the language is not known")
        assert material.reference is not None
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(), seeded(seed):
            torch.manual_seed(seed)
            reference = Path(folder) / "voice.wav"
            soundfile.write(reference, material.reference, SAMPLING_RATE)
            try:
                said, rate = self._speak(material.text, material.language.lower().split("-")[0], reference)
            except (RuntimeError, ValueError, KeyError, IndexError) as error:
                # For example a sentence of unpronounceable characters; the next one may work.
                raise MMERError(str(error).strip().split("\n")[0] or type(error).__name__) from error
        return Sound(soxr.resample(np.asarray(said, np.float32), rate, SAMPLING_RATE, quality="HQ"), {})


def load_yourtts(device: str | None = None) -> Synthesizer:
    """Load YourTTS (Casanova et al., 2022) from coqui-tts.

    Raises:
        MissingExtraError: coqui-tts is not installed.
        MMERError: the model cannot be loaded, for example without a network.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        api: Any = import_extra("TTS.api", "yourtts", extra="tts")
        model = api.TTS(YOURTTS, progress_bar=False).to(device)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        remedy = "check the network, and that torch and torchaudio are of the same build"
        raise MMERError(f"{YOURTTS} cannot be loaded ({reason}); {remedy}") from None
    names = {name.split("-")[0]: name for name in model.languages}  # of en, fr-fr and pt-br

    def speak(text: str, language: str, reference: Path) -> tuple[Any, int]:
        said = model.tts(text, speaker_wav=str(reference), language=names[language], split_sentences=False)
        return said, model.synthesizer.output_sample_rate

    return speak
