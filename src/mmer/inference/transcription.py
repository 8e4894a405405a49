"""Where the words come from that a model reads: given, heard by itself, heard by a speech recognizer, or nowhere."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from mmer.audio.load import as_waveform
from mmer.display.progress import quiet_transformers
from mmer.errors import EncoderError, MMERError
from mmer.extras import import_extra
from mmer.model.processor import MMERProcessor

if TYPE_CHECKING:
    import torch

Kind = Literal["given", "none", "ctc", "whisper"]
WHISPER_HEARS = 30.0
"""Seconds that Whisper hears at a time; it goes through longer recordings by its own time stamps."""


@dataclass(frozen=True)
class Transcription:
    """Where transcripts come from.

    Attributes:
        kind: `given`, what the caller says is said; `none`, nothing is read; `ctc`, what the model's own CTC head
            hears; `whisper`, what the speech recognizer `model` hears. Who has no recording is read as given by the
            last two.
        model: name or folder of a speech recognizer; None unless it is `whisper`.
    """

    kind: Kind
    model: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a user wrote, such as `whisper:openai/whisper-small`.

        Raises:
            MMERError: it is none of these.
        """
        kind, _, model = text.partition(":")
        if kind in get_args(Kind) and bool(model) == (kind == "whisper"):
            return cls(kind, model or None)  # pyright: ignore[reportArgumentType]
        allowed = "given, none, ctc, or whisper: and a model, as in whisper:openai/whisper-small"
        raise MMERError(f"no transcription {text!r}; it must be {allowed}")

    @property
    def name(self) -> str:
        """As a user writes it."""
        return self.kind if self.model is None else f"{self.kind}:{self.model}"

    @property
    def listens(self) -> bool:
        """Whether transcripts are heard."""
        return self.kind in ("ctc", "whisper")

    def check(self, processor: MMERProcessor) -> None:
        """Find out whether a model can read what is heard.

        Raises:
            MMERError: it does not read, or has no CTC head to hear with.
        """
        if self.listens and not processor.uses_text:
            raise MMERError(f"transcription {self.name}: this model does not read; leave it out")
        if self.kind == "ctc" and (not processor.uses_speech or processor.ctc_symbols is None):
            raise MMERError(
                "transcription ctc: this model was trained without CTC, so it hears no words; "
                "use whisper:NAME, or train with objectives.ctc_weight above 0 and transcripts"
            )


class SpeechRecognizer:
    """Any speech-recognition model of `transformers`: of the Whisper kind, or CTC.

    One recording is heard at a time, so that what is heard does not depend on the padding of a batch.

    Args:
        name: of a model on the Hugging Face Hub, or a local folder.
        device: of PyTorch; the first GPU if there is one unless given.

    Raises:
        EncoderError: there is no such model, or it does not recognize speech.
        MissingExtraError: PyTorch is not installed.
    """

    def __init__(self, name: str, device: "str | torch.device | None" = None) -> None:
        torch: Any = import_extra("torch", "transcription by a speech recognizer")
        from transformers import pipeline

        self.name = name
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            with quiet_transformers():
                self._pipeline: Any = pipeline(
                    "automatic-speech-recognition", model=name, device=device, trust_remote_code=False
                )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0].rstrip(".:")
            raise EncoderError(
                f"speech recognizer '{name}' cannot be loaded ({reason}); check the name and the network, or give the "
                "path of a local folder with a speech-recognition model of transformers"
            ) from error
        if self._pipeline.feature_extractor is None or self._pipeline.tokenizer is None:
            raise EncoderError(
                f"speech recognizer '{name}' cannot be loaded (it has no feature extractor or no tokenizer); give the "
                "name or the folder of a complete speech-recognition model of transformers"
            )

    def __call__(self, waveform: NDArray[np.float32], sampling_rate: int) -> str:
        """What is said in one recording.

        Args:
            waveform: (samples,).
            sampling_rate: Hz.
        """
        rate = self._pipeline.feature_extractor.sampling_rate
        if rate != sampling_rate:
            waveform = as_waveform(waveform, sampling_rate, name="recording", target_rate=rate)
        is_long = self._pipeline.type == "seq2seq_whisper" and len(waveform) > WHISPER_HEARS * rate
        stamps = {"return_timestamps": True} if is_long else {}
        heard = self._pipeline({"raw": waveform, "sampling_rate": rate}, **stamps)
        return " ".join(heard["text"].split())


def heard_by_ctc(processor: MMERProcessor, symbols: list[int]) -> str:
    """What a model's own CTC head hears, in lower case.

    Args:
        processor: of that model.
        symbols: the best symbol of each frame.
    """
    alphabet = processor.ctc_alphabet
    assert alphabet is not None
    return alphabet.decode(symbols).lower()
