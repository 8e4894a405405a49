"""One modality of a batch in front of its encoder, and two views of the same utterances as one batch."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class ModalityInput(NamedTuple):
    """The speech or the text of a batch, padded on the right.

    Attributes:
        values: speech: (batch, samples) waveforms or (batch, frames, bins) log-mel features, zero where padded. Text:
            (batch, tokens) token numbers or (batch, tokens, d) hidden states.
        mask: (batch, samples, frames or tokens) int64, 1 where valid.
    """

    values: Tensor
    mask: Tensor


def modality_input(
    values: Tensor | None, alternative: Tensor | None, mask: Tensor | None
) -> ModalityInput | None:
    """Take whichever of two kinds of values is given; None if neither is.

    Args:
        values: (batch, positions) waveforms or token numbers.
        alternative: (batch, positions, size) features or hidden states, used where `values` is None.
        mask: (batch, positions), 1 where valid; None if all positions are valid.
    """
    values = values if values is not None else alternative
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
