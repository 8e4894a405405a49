"""Sources of transcripts: the caller, the model's own CTC head, a speech recognizer, or none."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from mmer.audio.load import as_waveform
from mmer.display.progress import quiet_transformers
from mmer.errors import EncoderError, MMERError
from mmer.extras import import_extra
from mmer.features.preprocessor import Preprocessor
from mmer.files.hub import cached_model, hub_is_reachable
from mmer.inference.backends.model_folder import local_hash

if TYPE_CHECKING:
    import torch

Kind = Literal["given", "none", "ctc", "whisper"]
WHISPER_WINDOW = 30.0
"""Seconds that Whisper transcribes at a time; it needs time stamps to move through a longer recording."""
TRANSCRIPT_NOT_USED = "what is said makes no difference: this model only listens"


@dataclass(frozen=True)
class Transcription:
    """The source of transcripts.

    Attributes:
        kind: `given`, the caller's transcript; `none`, no transcript; `ctc`, the output of the model's own CTC head;
            `whisper`, the output of the speech recognizer `model`. With `ctc` and `whisper`, an utterance without a
            recording keeps the caller's transcript.
        model: name or folder of the speech recognizer; None unless `kind` is `whisper`.
    """

    kind: Kind
    model: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a setting such as `given`, `ctc` or `whisper:openai/whisper-small`.

        Raises:
            MMERError: `text` names no source, or `whisper` without a model.
        """
        name, _, model = text.partition(":")
        kinds: tuple[Kind, ...] = get_args(Kind)
        for kind in kinds:
            if kind == name and bool(model) == (kind == "whisper"):
                return cls(kind, model or None)
        allowed = "given, none, ctc, or whisper: and a model, as in whisper:openai/whisper-small"
        raise MMERError(f"no transcription {text!r}; it must be {allowed}")

    @property
    def name(self) -> str:
        """Return the setting that `parse` reads, such as `whisper:openai/whisper-small`."""
        return self.kind if self.model is None else f"{self.kind}:{self.model}"

    @property
    def recognizer_sha256(self) -> str | None:
        """Return the hash of a speech recognizer in a folder, whose files may change; None for any other source."""
        return local_hash(self.model)

    @property
    def listens(self) -> bool:
        """Tell whether transcripts come from the sound: `ctc` or `whisper`."""
        return self.kind in ("ctc", "whisper")

    def check(self, processor: Preprocessor) -> None:
        """Check that a model can use this source.

        Args:
            processor: of the model.

        Raises:
            MMERError: the model does not read text, or `kind` is `ctc` and it has no CTC head.
        """
        if self.listens and not processor.uses_text:
            raise MMERError(f"transcription {self.name}: this model does not read; leave it out")
        if self.kind == "ctc" and (not processor.uses_speech or processor.ctc_symbols is None):
            raise MMERError(
                "transcription ctc: this model was trained without CTC, so it cannot transcribe; "
                "use whisper:NAME, or train with objectives.ctc_weight above 0 and transcripts"
            )


class SpeechRecognizer:
    """Transcribes with any speech-recognition model of `transformers`, of the Whisper or the CTC kind.

    It transcribes one recording at a time, so that a transcript does not depend on the padding of a batch.

    Args:
        name: a model on the Hugging Face Hub, or a local folder.
        device: of PyTorch. Default: the first GPU, or the CPU where there is none.

    Raises:
        EncoderError: the model does not exist, cannot be loaded, or does not recognize speech.
        MissingExtraError: PyTorch is not installed.
    """

    def __init__(self, name: str, device: "str | torch.device | None" = None) -> None:
        torch: Any = import_extra("torch", "transcription by a speech recognizer")
        from transformers import pipeline

        self.name = name
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            with quiet_transformers():
                # `Any`: the type of a pipeline says nothing about the attributes of this task.
                self._pipeline: Any = pipeline(
                    "automatic-speech-recognition", model=_found(name), device=device, trust_remote_code=False
                )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0].rstrip(".:")
            raise EncoderError(
                f"speech recognizer '{name}' cannot be loaded ({reason}); check the name and the network, or give the "
                "path of a local folder with a speech-recognition model of transformers"
            ) from error
        extractor, tokenizer, model = (
            getattr(self._pipeline, part) for part in ("feature_extractor", "tokenizer", "model")
        )
        stored, lacks = model.config.architectures, None
        if extractor is None or tokenizer is None or not tokenizer.vocab_size:
            lacks = "it has no feature extractor or no tokenizer"
        elif stored and type(model).__name__ not in stored:  # transformers draws missing weights at random
            lacks = f"its weights are those of {', '.join(stored)}, so that its words would be random"
        if lacks is not None:
            raise EncoderError(
                f"speech recognizer '{name}' cannot be loaded ({lacks}); give the "
                "name or the folder of a complete speech-recognition model of transformers"
            )

    def __call__(self, waveform: NDArray[np.float32], sampling_rate: int) -> str:
        """Transcribe one recording.

        Args:
            waveform: (samples,), full scale = ±1.
            sampling_rate: Hz; resampled to the rate of the speech recognizer.

        Returns:
            The transcript on one line.
        """
        rate = self._pipeline.feature_extractor.sampling_rate
        if rate != sampling_rate:
            waveform = as_waveform(waveform, sampling_rate, name="recording", target_rate=rate)
        is_long = self._pipeline.type == "seq2seq_whisper" and len(waveform) > WHISPER_WINDOW * rate
        stamps = {"return_timestamps": True} if is_long else {}
        result = self._pipeline({"raw": waveform, "sampling_rate": rate}, **stamps)
        return " ".join(result["text"].split())


def _found(name: str) -> str:
    """Return a name as it is, or its folder in the cache where the Hub cannot be reached.

    Raises:
        OSError: the Hub cannot be reached, and the cache holds nothing of this name.
    """
    if os.path.isdir(name) or hub_is_reachable():
        return name
    folder = cached_model(name)
    if folder is None:
        raise OSError("the Hugging Face Hub cannot be reached, and its cache holds no model of this name")
    return str(folder)


def heard_by_ctc(processor: Preprocessor, symbols: list[int]) -> str:
    """Decode the symbols of a model's own CTC head into a transcript in lower case.

    Args:
        processor: of that model, with a CTC alphabet.
        symbols: the most probable symbol of each frame, blanks and repeats included.
    """
    alphabet = processor.ctc_alphabet
    assert alphabet is not None
    return alphabet.decode(symbols).lower()
