"""One modality of a batch after its encoder, with a learned embedding in the rows that lack the modality."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Encoding(NamedTuple):
    """One modality of a batch after its encoder: A, the speech frames, or e_t, the tokens (section 2.2).

    Attributes:
        hidden: (batch, frames, speech size) for A, (batch, tokens, d) for e_t.
        mask: (batch, frames or tokens) bool, true where valid; at least one position of each row is valid.
        given: (batch,) bool, false where the modality is missing and `hidden` is its learned embedding.
        word_logits: (batch, emotions), what the linear classifier of words adds; None without it.
    """

    hidden: Tensor
    mask: Tensor
    given: Tensor
    word_logits: Tensor | None = None


def encode_given(
    encoder: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    inputs: Tensor,
    attention_mask: Tensor,
    missing_embedding: Tensor | None,
) -> Encoding:
    """Encode the rows that have this modality; put the learned embedding into the others.

    Args:
        encoder: maps inputs (rows, positions, ...) and their mask to hidden states (rows, frames, size) and their mask.
        inputs: (batch, positions, ...), zero where padded.
        attention_mask: (batch, positions), 1 where valid; in a row of zeros the modality is missing.
        missing_embedding: (size,) learned embedding of the missing modality; None where no row may lack it.

    Returns:
        An encoding of (batch, frames, size).
    """
    given = attention_mask.any(dim=1)
    if missing_embedding is None or given.all():
        hidden, mask = encoder(inputs, attention_mask)
        return Encoding(hidden, mask.bool(), given)
    if not given.any():
        return missing_embeddings_for(missing_embedding, given)
    rows, missing = given.nonzero()[:, 0], (~given).nonzero()[:, 0]
    hidden, mask = encoder(inputs[rows], attention_mask[rows])
    shape = (len(given), *mask.shape[1:])
    all_rows = hidden.new_zeros(*shape, hidden.shape[-1]).index_copy(0, rows, hidden)
    valid = torch.zeros(shape, dtype=torch.bool, device=mask.device).index_copy(0, rows, mask.bool())
    all_rows[missing, 0] = missing_embedding.to(hidden.dtype)
    valid[missing, 0] = True
    return Encoding(all_rows, valid, given)


def encode_every_row(
    encoder: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    inputs: Tensor,
    attention_mask: Tensor,
    missing_embedding: Tensor | None,
) -> Encoding:
    """Encode every row and replace the missing ones: `encode_given` without control flow, for exported graphs.

    Args:
        encoder, inputs, attention_mask, missing_embedding: as for `encode_given`.

    Returns:
        An encoding of (batch, frames, size).
    """
    given = attention_mask.any(dim=1)
    if missing_embedding is not None:  # encoders divide by zero in a row that is masked everywhere
        attention_mask = torch.where(given[:, None], attention_mask, 1)
    hidden, mask = encoder(inputs, attention_mask)
    mask = mask.bool()
    if missing_embedding is not None:
        first = torch.arange(mask.shape[1], device=mask.device) == 0
        hidden = torch.where(given[:, None, None], hidden, missing_embedding)
        mask = (mask & given[:, None]) | (first & ~given[:, None])
    return Encoding(hidden, mask, given)


def missing_embeddings_for(missing_embedding: Tensor, like: Tensor) -> Encoding:
    """Make an encoding, (batch, 1, size), in which every row of `like`, (batch,), is the learned embedding."""
    given = torch.zeros_like(like)
    return Encoding(missing_embedding.expand(like.shape[0], 1, -1), ~given[:, None], given)
