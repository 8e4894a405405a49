"""Answer with a PyTorch model."""

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from mmer.display.progress import silent_transformers
from mmer.errors import CheckpointError, MMERError
from mmer.files.damaged import damaged_file
from mmer.inference.backends.network import CONFIG, WEIGHTS, Array, Inputs, Network, NetworkOutput, Symbols
from mmer.model.missing_modalities import Encoding
from mmer.model.mmer import MMERForEmotionRecognition


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
    def _answer(self, inputs: Inputs, read: Callable[[Symbols], Inputs] | None) -> NetworkOutput:
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
        if not self.model.config.missing_modality_embeddings or speech is None or text is None:
            return NetworkOutput(_array(logits), _array(embeddings), np.zeros(len(logits), bool))
        return NetworkOutput(
            _array(logits),
            _array(embeddings),
            (speech.given & text.given).cpu().numpy(),
            _array(self.model.answer(speech, None)[1]),
            _array(self.model.answer(None, text)[1]),
        )

    def probabilities(self, logits: Array) -> Array:
        """Apply the softmax to (batch, emotions) logits."""
        return torch.from_numpy(logits).softmax(dim=-1).numpy()

    def _tensor(self, array: NDArray) -> Tensor:
        return torch.from_numpy(array).to(self.model.device)


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
        shapes = _shapes(weights)
    with damaged_file(folder / CONFIG), silent_transformers(), _no_larger_than(shapes, weights):
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
            f"model folder {folder} lacks {len(missing)} weights, the first is {missing[0]}; its {another}"
        )
    if unexpected := sorted(report["unexpected_keys"]):
        raise CheckpointError(
            f"model folder {folder}: {WEIGHTS} holds {len(unexpected)} weights that {CONFIG} knows nothing of, the "
            f"first is {unexpected[0]}; {another}"
        )
    if mismatched := sorted(report["mismatched_keys"]):
        name, found, wanted = mismatched[0]
        raise CheckpointError(
            f"model folder {folder}: {name} has the shape {tuple(found)} in {WEIGHTS}, where {CONFIG} wants "
            f"{tuple(wanted)}; {another}"
        )
    with damaged_file(weights):
        for name, weight in model.named_parameters():
            if not all(bound.isfinite() for bound in weight.detach().aminmax()):
                raise CheckpointError(
                    f"{weights} holds NaN or infinite weights in {name}; ask for another copy"
                )
    return TorchNetwork(model, device)


def _shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of the tensors in a safetensors file from its header alone."""
    with safe_open(weights, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


@contextmanager
def _no_larger_than(shapes: Mapping[str, tuple[int, ...]], weights: Path) -> Iterator[None]:
    """Stop building a network that has more weights than a file holds.

    With a config.json of ten million layers, transformers would build layers for hours before it looks for their
    weights. Twice as many weights are allowed, since some layers are built twice (weight normalization, LoRA,
    `MaskedGroupNorm`).
    """
    number, size = 2 * len(shapes), 2 * sum(map(math.prod, shapes.values()))
    thread = threading.get_ident()

    def count(module: nn.Module, name: str, parameter: Tensor | None) -> None:
        nonlocal number, size
        # What is loaded is registered again, and other threads may build other models meanwhile.
        if parameter is None or not parameter.is_meta or threading.get_ident() != thread:
            return
        number, size = number - 1, size - parameter.numel()
        if number < 0 or size < 0:
            raise CheckpointError(
                f"{weights.with_name(CONFIG)} describes a larger network than there are weights in {weights.name}; "
                "they are not of the same model"
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


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


def _array(tensor: Tensor) -> Array:
    return tensor.float().cpu().numpy()
