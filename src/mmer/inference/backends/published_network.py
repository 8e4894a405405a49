"""Answer with a published model."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from mmer.inference.backends.network import Array, Inputs, Network, NetworkOutput, Symbols
from mmer.inference.backends.torch_network import as_array, on_device, softmax


class PublishedNetwork(Network):
    """A published model in evaluation mode, which has one modality and no CTC head.

    Args:
        model: see `mmer.published.checkpoints.Reader`; moved to `device`.
        device: see `TorchNetwork`.

    Raises:
        MMERError: there is no such device.
    """

    def __init__(self, model: nn.Module, device: str | torch.device | None = None) -> None:
        self.model = on_device(model, device)
        self.device = str(next(self.model.parameters()).device)

    @torch.inference_mode()
    def _answer(self, inputs: Inputs, read: Callable[[Symbols], Inputs] | None) -> NetworkOutput:
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in inputs.items()}
        logits, embeddings = self.model(tensors)
        return NetworkOutput(as_array(logits), as_array(embeddings), np.zeros(len(logits), bool))

    def probabilities(self, logits: Array) -> Array:
        """Apply the softmax to (batch, emotions) logits."""
        return softmax(logits)
