"""One modality of a batch in front of its encoder, and two views of the same utterances as one batch."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class ModalityInput(NamedTuple):
    """The speech or the text of a batch, padded on the right.

    Attributes:
        values: speech: (batch, samples) waveforms, (batch, frames, bins) log-mel features or (batch, frames, layers,
            size) hidden states, zero where padded. Text: (batch, tokens) token numbers, (batch, tokens, layers, d)
            hidden states or (batch, tokens, d) e_t.
        mask: (batch, samples, frames or tokens) int64, 1 where valid.
    """

    values: Tensor
    mask: Tensor


def modality_input(mask: Tensor | None, *kinds: Tensor | None) -> ModalityInput | None:
    """Take whichever of several kinds of values is given; None if none is.

    Args:
        mask: (batch, positions), 1 where valid; None if all positions are valid.
        kinds: (batch, positions) waveforms or token numbers; (batch, positions, size) features or e_t; (batch,
            positions, layers, size) hidden states.
    """
    values = next((kind for kind in kinds if kind is not None), None)
    if values is None:
        return None
    if mask is None:
        mask = torch.ones(values.shape[:2], dtype=torch.int64, device=values.device)
    return ModalityInput(values, mask)


def all_missing(like: ModalityInput) -> ModalityInput:
    """Make an input of one masked position, (batch, 1, ...), for each row of `like`: the modality is missing."""
    return ModalityInput(torch.zeros_like(like.values[:, :1]), torch.zeros_like(like.mask[:, :1]))


def concatenated(first: ModalityInput, second: ModalityInput) -> ModalityInput:
    """Concatenate the same modality of two views, each padded to the longer one: (2 batch, positions, ...)."""
    longest = max(first.mask.shape[1], second.mask.shape[1])
    padded = [
        [F.pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, longest - tensor.shape[1])) for tensor in view]
        for view in (first, second)
    ]
    values, mask = (torch.cat(pair) for pair in zip(*padded, strict=True))
    return ModalityInput(values, mask)
