"""Read the preprocessor of a model folder without transformers, whose import takes longer than the answer."""

from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mmer.features.log_mel import FRAME, LOWEST, TRANSFORM, mel
from mmer.features.preprocessor import Preprocessor, stored_settings
from mmer.files.damaged import read_json_object

PROCESSOR = "processor_config.json"
_OF_EXTRACTOR = {"feature_size", "num_mel_bins", "padding_value", "sampling_rate", "stride"}
_OF_PADDING = {"padding_side", "padding_value", "return_attention_mask"}
"""Settings of an extractor that pads; here, `Preprocessor` pads."""
_OF_TOKENIZER = {"bos_token", "eos_token", "model_max_length", "pad_token", "unk_token"}
_NOT_READ = {"backend", "processor_class", "tokenizer_class"}


def read_preprocessor(folder: Path) -> Preprocessor | None:
    """Read what the folder of a model with the tokenizer of `compact` says about sound and words.

    Args:
        folder: with `processor_config.json`, `tokenizer_config.json` and `tokenizer.json`.

    Returns:
        A preprocessor with the same arrays as those of `MMERProcessor`; None where the folder says anything that only
        transformers knows how to read, or nothing that can be read.
    """
    for name in (PROCESSOR, "tokenizer_config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            return None
    settings = stored_settings(read_json_object(folder / PROCESSOR))
    of_sound = settings.pop("feature_extractor", None)
    extractor = LogMelExtractor.of(of_sound) or WaveformExtractor.of(of_sound)
    tokenizer = FolderTokenizer.read(folder)
    settings.pop("processor_class", None)
    known = settings.keys() <= signature(Preprocessor).parameters.keys()
    if extractor is None or tokenizer is None or not known or "labels" not in settings:
        return None
    return Preprocessor(extractor, tokenizer, **settings)


@dataclass(frozen=True)
class LogMelExtractor:
    """What `log_mel` takes from a `SeamlessM4TFeatureExtractor`, with the same numbers.

    Attributes:
        sampling_rate: Hz.
        num_mel_bins: of a frame.
        stride: frames that are stacked.
        padding_value: of the frame that completes a stack.
    """

    sampling_rate: int
    num_mel_bins: int
    stride: int
    padding_value: float
    model_input_names = ("input_features", "attention_mask")

    @classmethod
    def of(cls, settings: object) -> "LogMelExtractor | None":
        """Take the settings that transformers wrote; None if they are of another extractor, or incomplete."""
        if not isinstance(settings, dict):
            return None
        found = dict(settings)
        usual = {
            "feature_extractor_type": "SeamlessM4TFeatureExtractor",
            "padding_side": "right",
            "return_attention_mask": True,
        }
        if (
            any(found.pop(name, value) != value for name, value in usual.items())
            or found.keys() != _OF_EXTRACTOR
        ):
            return None
        if not all(
            isinstance(value, int) and value > 0 for name, value in found.items() if name != "padding_value"
        ):
            return None
        if (
            not isinstance(found["padding_value"], float)
            or found.pop("feature_size") != found["num_mel_bins"]
        ):
            return None
        return cls(**found)

    @cached_property
    def window(self) -> NDArray[np.float64]:
        """The window of a frame, (samples,): Povey's, as in Kaldi."""
        return np.hanning(FRAME) ** 0.85

    @cached_property
    def mel_filters(self) -> NDArray[np.float64]:
        """Triangles on the mel scale of Kaldi, (bins of the transform, mel bins)."""
        lowest, highest = mel(np.array([LOWEST, self.sampling_rate // 2]))
        corners = np.linspace(lowest, highest, self.num_mel_bins + 2)
        bins = mel(self.sampling_rate / TRANSFORM * np.arange(TRANSFORM // 2 + 1))
        slopes, widths = corners - bins[:, None], np.diff(corners)
        return np.maximum(0.0, np.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]))


@dataclass(frozen=True)
class WaveformExtractor:
    """What wav2vec2 and encoders like it take from a `Wav2Vec2FeatureExtractor`, with the same numbers.

    Attributes:
        sampling_rate: Hz.
        do_normalize: whether to give each waveform zero mean and unit variance.
    """

    sampling_rate: int
    do_normalize: bool
    model_input_names = ("input_values", "attention_mask")

    @classmethod
    def of(cls, settings: object) -> "WaveformExtractor | None":
        """Take the settings that transformers wrote; None if they are of another extractor, or incomplete."""
        if not isinstance(settings, dict):
            return None
        found = dict(settings)
        usual = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1}
        rate, normalizes = found.get("sampling_rate"), found.get("do_normalize")
        if any(found.pop(name, None) != value for name, value in usual.items()):
            return None
        if found.keys() != {"sampling_rate", "do_normalize"} | _OF_PADDING:
            return None
        if not isinstance(rate, int) or rate <= 0 or not isinstance(normalizes, bool):
            return None
        return cls(rate, normalizes)

    def __call__(self, waveform: NDArray[np.float32], **_: Any) -> dict[str, NDArray[np.float32]]:
        """Return `input_values`, (1, samples), of a waveform, (samples,)."""
        if self.do_normalize:
            waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
        return {"input_values": waveform[None]}


class FolderTokenizer:
    """Tokenizes batches as the `PreTrainedTokenizerFast` of a folder does.

    Args:
        tokenizer: of `tokenizer.json`.
        model_max_length: tokens.
        pad_token_id, eos_token_id: None for one that there is not.
    """

    def __init__(
        self, tokenizer: Tokenizer, model_max_length: int, pad_token_id: int, eos_token_id: int | None
    ) -> None:
        self._tokenizer = tokenizer
        self.model_max_length = model_max_length
        self.pad_token_id, self.eos_token_id = pad_token_id, eos_token_id

    @classmethod
    def read(cls, folder: Path) -> "FolderTokenizer | None":
        """Read a tokenizer; None if its settings say more than those of `compact_tokenizer` do."""
        settings = read_json_object(folder / "tokenizer_config.json")
        if settings.get("tokenizer_class") not in ("TokenizersBackend", "PreTrainedTokenizerFast"):
            return None
        pad, end, length = (settings.get(name) for name in ("pad_token", "eos_token", "model_max_length"))
        if not isinstance(pad, str) or not isinstance(length, int):
            return None
        if not settings.keys() <= _OF_TOKENIZER | _NOT_READ or not isinstance(end, str | None):
            return None
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        pad_id = tokenizer.token_to_id(pad)
        end_id = None if end is None else tokenizer.token_to_id(end)
        if pad_id is None or (end is not None and end_id is None):
            return None
        tokenizer.no_truncation()
        tokenizer.enable_padding(pad_id=pad_id, pad_token=pad)
        return cls(tokenizer, length, pad_id, end_id)

    def __call__(self, texts: list[str], **_: Any) -> dict[str, NDArray[np.int64]]:
        """Tokenize texts, and pad them on the right; the options are those that `Preprocessor` asks for.

        Returns:
            `input_ids` and `attention_mask`, (texts, tokens).
        """
        encoded = self._tokenizer.encode_batch(texts)
        return {
            "input_ids": np.array([each.ids for each in encoded], np.int64),
            "attention_mask": np.array([each.attention_mask for each in encoded], np.int64),
        }
