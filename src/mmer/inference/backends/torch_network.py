"""Answer with a PyTorch model."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmer.display.progress import silent_transformers
from mmer.errors import CheckpointError, MMERError
from mmer.files.damaged import damaged_file
from mmer.inference.backends.network import CONFIG, WEIGHTS, Array, Inputs, Network, NetworkOutput, Symbols
from mmer.model.gpu_settings import attention_of_any_length
from mmer.model.missing_modalities import Encoding
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.model.stored_weights import check_finite, no_larger_than, stored_shapes
from mmer.plain_text import counted

Module = TypeVar("Module", bound=nn.Module)


class TorchNetwork(Network):
    """A model of PyTorch in evaluation mode.

    Args:
        model: changed in place.
        device: `cpu`, `cuda`, `cuda:1`, …; the first GPU if there is one unless given.

    Attributes:
        hear: replaces sound and its mask by hidden states of the speech encoder and theirs, see
            `MMERForEmotionRecognition.encode_speech`; None to run the encoder.
        keep: turns the output of an encoder into `NetworkOutput.encodings`, one array for each row of the batch; None
            to keep nothing.

    Raises:
        MMERError: there is no such device.
    """

    def __init__(self, model: MMERForEmotionRecognition, device: str | torch.device | None = None) -> None:
        self.model = on_device(model, device)
        self.device = str(self.model.device)
        self.hear: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
        self.keep: Callable[[Encoding], Sequence[Array | None]] | None = None

    @attention_of_any_length()
    @torch.inference_mode()
    def _answer(self, inputs: Inputs, read: Callable[[Symbols], Inputs] | None) -> NetworkOutput:
        speech = text = None
        if "speech_attention_mask" in inputs:
            sound = inputs["input_features" if "input_features" in inputs else "input_values"]
            heard = self._tensor(sound), self._tensor(inputs["speech_attention_mask"])
            speech = self.model.encode_speech(*(heard if self.hear is None else self.hear(*heard)))
            if read is not None:
                inputs = read(best_symbols(self.model, speech))
        if "input_ids" in inputs:
            ids, mask = inputs["input_ids"], inputs["text_attention_mask"]
            text = self.model.encode_text(self._tensor(ids), self._tensor(mask))
        output = self._fused(speech, text)
        if self.keep is None:
            return output
        sides = {"speech": speech, "text": text}
        kept = {side: self.keep(encoding) for side, encoding in sides.items() if encoding is not None}
        return replace(output, encodings=kept)

    def _fused(self, speech: Encoding | None, text: Encoding | None) -> NetworkOutput:
        embeddings, logits = self.model.answer(speech, text)
        if not self.model.config.missing_modality_embeddings or speech is None or text is None:
            return NetworkOutput(as_array(logits), as_array(embeddings), np.zeros(len(logits), bool))
        return NetworkOutput(
            as_array(logits),
            as_array(embeddings),
            (speech.given & text.given).cpu().numpy(),
            as_array(self.model.answer(speech, None)[1]),
            as_array(self.model.answer(None, text)[1]),
        )

    def probabilities(self, logits: Array) -> Array:
        """Apply the softmax to (batch, emotions) logits."""
        return softmax(logits)

    def _tensor(self, array: NDArray) -> Tensor:
        return torch.from_numpy(array).to(self.model.device)


def on_device(module: Module, device: str | torch.device | None) -> Module:
    """Put a module into evaluation mode on a device; see `TorchNetwork`.

    Raises:
        MMERError: there is no such device.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return module.to(torch.device(device)).eval()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise MMERError(f"device {device} cannot be used ({reason}); give cpu, cuda or cuda:N") from error


def read_torch_network(folder: Path, device: str | torch.device | None) -> TorchNetwork:
    """Load the model of a model folder.

    Args:
        folder: with `config.json` and `model.safetensors`.
        device: see `TorchNetwork`.

    Raises:
        CheckpointError: a file is damaged, weights are missing, not finite or of other shapes than `config.json` says.
        MMERError: there is no such device.
    """
    weights = folder / WEIGHTS
    with damaged_file(weights):
        shapes = stored_shapes(weights)
    with damaged_file(folder / CONFIG), silent_transformers(), no_larger_than(shapes, weights):
        loaded: Any = MMERForEmotionRecognition.from_pretrained(
            folder,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported, and refused below
            local_files_only=True,
            dtype=torch.float32,
        )
        model, report = loaded
    another = f"{CONFIG} and {WEIGHTS} are not of the same model"
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"model folder {folder} lacks {counted(len(missing), 'weight')}, the first is {missing[0]}; its {another}"
        )
    if unexpected := sorted(report["unexpected_keys"]):
        raise CheckpointError(
            f"model folder {folder}: {WEIGHTS} holds {counted(len(unexpected), 'weight')} that {CONFIG} knows "
            "nothing of, the "
            f"first is {unexpected[0]}; {another}"
        )
    if mismatched := sorted(report["mismatched_keys"]):
        name, found, wanted = mismatched[0]
        raise CheckpointError(
            f"model folder {folder}: {name} has the shape {tuple(found)} in {WEIGHTS}, where {CONFIG} wants "
            f"{tuple(wanted)}; {another}"
        )
    check_finite(model, weights)
    return TorchNetwork(model, device)


def best_symbols(model: MMERForEmotionRecognition, speech: Encoding) -> Symbols:
    """Find the most probable CTC symbol of each valid frame.

    Args:
        model: with a CTC head.
        speech: A, (batch, frames, speech size), of `model.encode_speech`.

    Returns:
        For each row the symbols of its valid frames; None where speech is missing.
    """
    assert model.ctc_head is not None
    best = model.ctc_head(speech.hidden).argmax(dim=-1)
    rows = zip(best, speech.mask, speech.given.tolist(), strict=True)
    return [symbols[valid].tolist() if given else None for symbols, valid, given in rows]


def softmax(logits: Array) -> Array:
    """Apply the softmax to (batch, emotions) logits."""
    return torch.from_numpy(logits).softmax(dim=-1).numpy()


def as_array(tensor: Tensor) -> Array:
    """Convert a tensor to an array of NumPy of the same shape."""
    return tensor.float().cpu().numpy()
