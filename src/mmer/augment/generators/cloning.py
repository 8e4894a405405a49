"""The words of a view in the voice of another speaker: zero-shot speaker-conditioned synthesis, the paper's views."""

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
import soxr
import torch

from mmer.audio.load import SAMPLING_RATE
from mmer.augment.generators.generator import Material, Sound
from mmer.augment.speech import seeded
from mmer.errors import MMERError
from mmer.extras import import_extra

YOURTTS = "tts_models/multilingual/multi-dataset/your_tts"
"""As coqui-tts calls it; its weights are licensed CC BY-NC-ND 4.0."""

LANGUAGES = {"en", "fr", "pt"}
"""Languages of YourTTS."""


class Synthesizer(Protocol):
    """Speaks in the voice of a recording."""

    def __call__(self, text: str, language: str, reference: Path) -> tuple[Any, int]:
        """(samples,) of any type of number, full scale = ±1, and their rate in Hz.

        Args:
            text: what to say.
            language: such as `en`.
            reference: 16 kHz mono WAV of the voice.
        """
        ...


class YourTTS:
    """Speaks the text of the view in the voice of another speaker who expresses the same emotion.

    Args:
        synthesizer: what speaks; None loads YourTTS through coqui-tts, which fetches it when it is used first.
        languages: what it speaks.
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
        self.settings: dict[str, Any] = {"model": YOURTTS if synthesizer is None else "made"}
        self._speak = synthesizer or load_yourtts(device)

    def __call__(self, material: Material, seed: int) -> Sound:
        """Speak.

        Raises:
            MMERError: nothing to say, no voice to say it in, or a synthesizer that fails.
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
                # A sentence of signs that it has no sound for, say; the next one may do.
                raise MMERError(str(error).strip().split("\n")[0] or type(error).__name__) from error
        return Sound(soxr.resample(np.asarray(said, np.float32), rate, SAMPLING_RATE, quality="HQ"), {})


def load_yourtts(device: str | None = None) -> Synthesizer:
    """YourTTS (Casanova et al., 2022) of coqui-tts.

    Raises:
        MissingExtraError: coqui-tts is not installed.
        MMERError: it cannot be loaded, for want of a network, say.
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
