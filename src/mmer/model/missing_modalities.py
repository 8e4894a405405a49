"""One side of a batch after its encoder, with learned missing-modality embeddings in the rows that lack it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Encoding(NamedTuple):
    """One side of a batch after its encoder: the frames of the speech, or the tokens of the text.

    Attributes:
        hidden: (batch, positions, size).
        mask: (batch, positions) bool, true where valid; at least one in each row.
        given: (batch,) bool, false where there was nothing to encode and the learned embedding is in its place.
    """

    hidden: Tensor
    mask: Tensor
    given: Tensor


def encode_given(
    encoder: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    inputs: Tensor,
    attention_mask: Tensor,
    missing_embedding: Tensor | None,
) -> Encoding:
    """Encode the rows that have something to encode; the others get the missing-modality embedding, if there is one.

    Args:
        encoder: hidden states and their mask, of inputs and theirs.
        inputs: (batch, positions, ...), zero where padded.
        attention_mask: (batch, positions), 1 where valid; a row without any is missing.
        missing_embedding: (size,), learned; None where no row may be missing.
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
    everywhere = hidden.new_zeros(*shape, hidden.shape[-1]).index_copy(0, rows, hidden)
    valid = torch.zeros(shape, dtype=torch.bool, device=mask.device).index_copy(0, rows, mask.bool())
    everywhere[missing, 0] = missing_embedding.to(hidden.dtype)
    valid[missing, 0] = True
    return Encoding(everywhere, valid, given)


def encode_every_row(
    encoder: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    inputs: Tensor,
    attention_mask: Tensor,
    missing_embedding: Tensor | None,
) -> Encoding:
    """As `encode_given` without a step that depends on values, for graphs: missing rows are encoded and replaced."""
    given = attention_mask.any(dim=1)
    if missing_embedding is not None:  # no encoder is asked about a row that is masked everywhere
        attention_mask = torch.where(given[:, None], attention_mask, 1)
    hidden, mask = encoder(inputs, attention_mask)
    mask = mask.bool()
    if missing_embedding is not None:
        first = torch.arange(mask.shape[1], device=mask.device) == 0
        hidden = torch.where(given[:, None, None], hidden, missing_embedding)
        mask = (mask & given[:, None]) | (first & ~given[:, None])
    return Encoding(hidden, mask, given)


def missing_embeddings_for(missing_embedding: Tensor, like: Tensor) -> Encoding:
    """Make an encoding of one position, the embedding, for each row of `like`, (batch,) bool."""
    given = torch.zeros_like(like)
    return Encoding(missing_embedding.expand(like.shape[0], 1, -1), ~given[:, None], given)


def nothing_like(inputs: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor] | None:
    """As many rows, all of them missing."""
    return inputs and (torch.zeros_like(inputs[0][:, :1]), torch.zeros_like(inputs[1][:, :1]))
