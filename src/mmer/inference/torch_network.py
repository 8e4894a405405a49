"""Answers of a model of PyTorch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from mmer.errors import CheckpointError, MMERError
from mmer.inference.model_folder import one_line
from mmer.inference.network import Answers, Array, Inputs, Network, Symbols
from mmer.model.encoding import Encoding
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.progress import quiet_transformers


class TorchNetwork(Network):
    """A model of PyTorch in evaluation mode.

    Args:
        model: changed in place.
        device: `cpu`, `cuda`, `cuda:1`, …; the first GPU if there is one unless given.

    Raises:
        MMERError: there is no such device.
    """

    def __init__(self, model: MMERForEmotionRecognition, device: str | torch.device | None = None) -> None:
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            # transformers wraps Module.to without its types
            self.model = model.to(torch.device(device)).eval()  # pyright: ignore[reportArgumentType]
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise MMERError(f"device {device} cannot be used ({reason}); give cpu, cuda or cuda:N") from error
        self.device = str(self.model.device)

    @torch.inference_mode()
    def answer(self, inputs: Inputs, read: Callable[[Symbols], Inputs] | None = None) -> Answers:
        speech = text = None
        if "speech_attention_mask" in inputs:
            sound = inputs["input_features" if "input_features" in inputs else "input_values"]
            mask = inputs["speech_attention_mask"]
            speech = self.model.encode_speech(self._tensor(sound), self._tensor(mask))
            if read is not None:
                inputs = read(best_symbols(self.model, speech))
        if "input_ids" in inputs:
            ids, mask = inputs["input_ids"], inputs["text_attention_mask"]
            text = self.model.encode_text(self._tensor(ids), self._tensor(mask))
        embeddings, logits = self.model.answer(speech, text)
        if not self.model.config.stand_ins or speech is None or text is None:
            return Answers(_array(logits), _array(embeddings), np.zeros(len(logits), bool))
        return Answers(
            _array(logits),
            _array(embeddings),
            (speech.given & text.given).cpu().numpy(),
            _array(self.model.answer(speech, None)[1]),
            _array(self.model.answer(None, text)[1]),
        )

    def probabilities(self, logits: Array) -> Array:
        return torch.from_numpy(logits).softmax(dim=-1).numpy()

    def _tensor(self, array: NDArray) -> Tensor:
        return torch.from_numpy(array).to(self.model.device)


def read_torch_network(folder: Path, device: str | torch.device | None) -> TorchNetwork:
    """Load the model of a model folder.

    Args:
        folder: with `config.json` and `model.safetensors`.
        device: see `TorchNetwork`.

    Raises:
        CheckpointError: a file is damaged, or weights are missing.
        MMERError: there is no such device.
    """
    try:
        with quiet_transformers():
            loaded: Any = MMERForEmotionRecognition.from_pretrained(
                folder, output_loading_info=True, local_files_only=True
            )
            model, report = loaded
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"model folder {folder} cannot be loaded: {one_line(error)}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise CheckpointError(
            f"model folder {folder} lacks {len(missing)} weights, the first is {missing[0]}; "
            "its config.json and model.safetensors are not of the same model"
        )
    return TorchNetwork(model, device)


def best_symbols(model: MMERForEmotionRecognition, speech: Encoding) -> Symbols:
    """What the model's own CTC head hears: the best symbol of each frame.

    Args:
        model: with a CTC head.
        speech: of `model.encode_speech`.
    """
    assert model.ctc_head is not None
    best = model.ctc_head(speech.hidden).argmax(dim=-1)
    rows = zip(best, speech.mask, speech.given.tolist(), strict=True)
    return [symbols[valid].tolist() if given else None for symbols, valid, given in rows]


def _array(tensor: Tensor) -> Array:
    return tensor.float().cpu().numpy()
