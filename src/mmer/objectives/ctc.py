"""L_CTC (section 2.3): connectionist temporal classification of the transcript from the un-pooled frames A.

For the speech frames A, (utterances, J, speech size), a linear layer gives logits (utterances, J, symbols), and

    L_CTC = -log sum over alignments of the transcript of  product over frames j of  softmax(logits_j)[symbol_j]
"""

import torch
import torch.nn.functional as F
from torch import Tensor

BLANK = 0
IGNORED = -100


def full_precision(tensor: Tensor) -> Tensor:
    """Convert a tensor of any shape, (...,), from half precision to float32; leave float32 and float64 as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def ctc_losses(logits: Tensor, frame_counts: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the negative log-likelihood of each utterance's transcript.

    Args:
        logits: (utterances, frames, symbols), symbol 0 is the blank.
        frame_counts: (utterances,) valid frames.
        targets: (utterances, longest transcript) symbols, padded with -100. A row of -100 has no transcript.

    Returns:
        losses: (utterances,) in nats, 0 where there is no transcript or no alignment.
        present: (utterances,) bool, true if the utterance has a transcript.
        infinite: (utterances,) bool, true if the transcript needs more frames than there are: its loss is infinite.
    """
    valid = targets != IGNORED
    target_lengths = valid.sum(dim=1)
    repeats = (valid[:, 1:] & (targets[:, 1:] == targets[:, :-1])).sum(dim=1)
    present = target_lengths > 0
    infinite = target_lengths + repeats > frame_counts
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


def ctc_objective(losses: Tensor, present: Tensor, infinite: Tensor) -> Tensor:
    """Average the losses of utterances that have a transcript and an alignment (`formulation: paper`).

    Args:
        losses, present, infinite: (utterances,) as `ctc_losses` returns them.

    Returns:
        Scalar loss in nats per utterance; 0 for a batch without a usable transcript.
    """
    return losses.sum() / (present & ~infinite).sum().clamp(min=1)


def official_ctc_objective(losses: Tensor, infinite: Tensor) -> Tensor:
    """Sum the losses of a batch as the published code does (`formulation: official`).

    Args:
        losses, infinite: (utterances,) as `ctc_losses` returns them.

    Returns:
        Scalar loss in nats; infinite if the loss of any utterance is.
    """
    return losses.masked_fill(infinite, torch.inf).sum()
