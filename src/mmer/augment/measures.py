"""Models that measure views: similarity of meaning, and speech recognition."""

import os
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from transformers import AutoModel, AutoTokenizer

from mmer.audio.load import SAMPLING_RATE
from mmer.augment.generators.generator import Waveform
from mmer.augment.quality_filters import Judges, SpeechToText
from mmer.display.progress import quiet_transformers
from mmer.errors import MMERError, Parameter
from mmer.inference.backends.bundle import one_model_folder
from mmer.inference.backends.torch_network import best_symbols
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.transcription import SpeechRecognizer, heard_by_ctc
from mmer.model.pretrained_encoders import encoder_config, fetch


class TextSimilarity:
    """Similarity of two texts: cosine of their mean hidden states in an encoder, such as a sentence transformer.

    Args:
        name: name or folder of any text encoder of transformers.
        device: `cpu`, `cuda`, ...; the first GPU if there is one.

    Raises:
        EncoderError: the encoder cannot be loaded.
    """

    def __init__(self, name: str, device: str | None = None) -> None:
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        with quiet_transformers():
            self._tokenizer = fetch(AutoTokenizer.from_pretrained, name, "text encoder")
            model = fetch(AutoModel.from_pretrained, name, "text encoder")
        self._model = model.to(self.device).eval()

    def __call__(self, texts: Sequence[str], others: Sequence[str]) -> list[float]:
        """Return (texts,) similarities between -1 and 1."""
        return F.cosine_similarity(self._embed(texts), self._embed(others)).tolist()

    @torch.inference_mode()
    def _embed(self, texts: Sequence[str]) -> torch.Tensor:
        inputs = self._tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(
            self.device
        )
        hidden = self._model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None]
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1)


def load_judges(similarity: str | None, recognizer: str | None, device: str | None = None) -> Judges:
    """Load the models of these names; None for a name not given.

    Raises:
        EncoderError, MMERError: as `TextSimilarity` and `load_speech_to_text`.
    """
    return Judges(
        TextSimilarity(similarity, device) if similarity else None,
        load_speech_to_text(recognizer, device) if recognizer else None,
        (similarity, recognizer),
    )


def load_speech_to_text(name: str, device: str | None = None) -> SpeechToText:
    """Load a speech recognizer: the CTC head of an mmer model, or any recognizer of transformers.

    Args:
        name: name or folder; for an mmer model also a bundle.
        device: `cpu`, `cuda`, ...; the first GPU if there is one.

    Raises:
        EncoderError: the recognizer cannot be loaded.
        MMERError: the mmer model has no CTC head.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if os.path.isfile(name):  # a bundle
        name = str(one_model_folder(name))
    if encoder_config(name).model_type != "mmer":
        recognizer = SpeechRecognizer(name, device)
        return lambda waveform: recognizer(waveform, SAMPLING_RATE)
    hearing = EmotionRecognizer.from_pretrained(name, device, calibrated=False)
    model, processor = hearing.model, hearing.processor
    if model.ctc_head is None or processor.ctc_symbols is None:
        raise MMERError(
            Parameter("asr", name), ": this model has no CTC head; train with objectives.ctc_weight above 0"
        )

    @torch.inference_mode()
    def recognize(waveform: Waveform) -> str:
        features = processor.standardize(processor.features(waveform))
        inputs = torch.from_numpy(features)[None].to(device)
        speech = model.encode_speech(inputs, torch.ones(inputs.shape[:2], dtype=torch.long, device=device))
        (symbols,) = best_symbols(model, speech)
        return heard_by_ctc(processor, symbols or [])

    return recognize
