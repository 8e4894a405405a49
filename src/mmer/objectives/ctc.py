"""Connectionist temporal classification of the transcript from the un-pooled speech frames, section 2.3."""

import torch
import torch.nn.functional as F
from torch import Tensor

BLANK = 0
IGNORED = -100


def full_precision(tensor: Tensor) -> Tensor:
    """float32 in place of half precision; float64 stays."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def ctc_losses(logits: Tensor, frame_counts: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Negative log likelihood of each utterance's transcript.

    Args:
        logits: (utterances, frames, symbols), symbol 0 is the blank.
        frame_counts: (utterances,) valid frames.
        targets: (utterances, longest transcript), padded with -100. A row of -100 alone has no transcript.

    Returns:
        losses: (utterances,) in nats, 0 where there is no transcript or no alignment.
        present: (utterances,) bool, the utterance has a transcript.
        infinite: (utterances,) bool, the transcript needs more frames than there are, so its loss is infinite.
    """
    valid = targets != IGNORED
    target_lengths = valid.sum(dim=1)
    repeats = (valid[:, 1:] & (targets[:, 1:] == targets[:, :-1])).sum(dim=1)
    present = target_lengths > 0
    infinite = present & (target_lengths + repeats > frame_counts)
    log_probabilities = full_precision(logits).log_softmax(dim=-1).transpose(0, 1)
    losses = F.ctc_loss(
        log_probabilities,
        targets.clamp(min=0),
        frame_counts,
        target_lengths,
        blank=BLANK,
        reduction="none",
        zero_infinity=True,
    )
    return torch.where(present, losses, 0.0), present, infinite


def ctc_objective(losses: Tensor, present: Tensor, infinite: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the utterances that have a transcript and an alignment (`formulation: paper`).

    Args:
        losses, present, infinite: (utterances,) as `ctc_losses` returns them.

    Returns:
        Scalar loss in nats per utterance, 0 for a batch without usable transcript.
        Scalar count of utterances left out because their loss is infinite.
    """
    used = present & ~infinite
    return losses.sum() / used.sum().clamp(min=1), infinite.sum()


def official_ctc_objective(losses: Tensor, present: Tensor, infinite: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over the batch as in the published code (`formulation: official`): one infinite loss makes it infinite.

    Arguments and return values as in `ctc_objective`.
    """
    return losses.masked_fill(infinite, torch.inf).sum(), infinite.sum()
