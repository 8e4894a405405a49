"""Diagnosis of a loss that is not finite: the utterances at fault, and remedies."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

_LISTED = 5


class Suspects(NamedTuple):
    """Possible faults of a batch's utterances, kept on the device until needed.

    Attributes:
        broken: (utterances,) bool, true where the network's output is not finite.
        infinite_ctc: (utterances,) bool, true where the transcript needs more frames than the encoder gives.
    """

    broken: Tensor
    infinite_ctc: Tensor

    @classmethod
    def of(cls, parts: Sequence[Self], count: int) -> Self:
        """Concatenate the parts of a batch of `count` utterances in order; repeated parts are left out."""
        return cls(*(torch.cat(each)[:count] for each in zip(*parts, strict=True)))


def suspects(summary: Mapping[str, Tensor]) -> Suspects:
    """Find suspects among the utterances of a summary, as `multitask_loss` takes it."""
    said = [
        tensor.detach().flatten(1) if tensor.ndim > 1 else tensor.detach()[:, None]
        for tensor in summary.values()
        if tensor.is_floating_point()
    ]
    broken = torch.stack([~tensor.isfinite().all(dim=1) for tensor in said]).any(dim=0)
    return Suspects(broken, summary.get("ctc_infinite", torch.zeros_like(broken)))


def found_out(batches: Sequence[tuple[Sequence[str], Suspects]], *, infinite_ctc_counts: bool) -> str:
    """Describe the utterances at fault, the reason, and the remedy.

    Args:
        batches: utterance ids and suspects of each batch.
        infinite_ctc_counts: whether an infinite CTC loss is part of the loss, as in the official formulation.
    """
    names = [name for ids, _ in batches for name in ids]
    broken = _chosen(batches, [each.broken for _, each in batches])
    unaligned = _chosen(batches, [each.infinite_ctc for _, each in batches]) if infinite_ctc_counts else []
    if unaligned:
        return (
            f"{_listed(unaligned)}: the transcript has more characters than the encoder makes frames of the sound, so "
            "that no CTC alignment exists; correct the transcript or the ends of the clip, leave the utterance out, or "
            "set objectives.formulation=paper, which skips it in CTC, or objectives.ctc_weight=0"
        )
    if broken and len(broken) < len(names):
        return (
            f"{_listed(broken)}: the network's answer is not a number; look at the recording and the transcript, or "
            "lower training.learning_rate"
        )
    return (
        f"no single utterance is the cause among {_listed(names)}; lower training.learning_rate, set "
        "training.max_grad_norm or use training.precision=float32"
    )


def _chosen(batches: Sequence[tuple[Sequence[str], Suspects]], marks: Sequence[Tensor]) -> list[str]:
    pairs = zip((ids for ids, _ in batches), marks, strict=True)
    return [name for ids, mark in pairs for name, marked in zip(ids, mark.tolist(), strict=True) if marked]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"utterance{'s' if len(names) > 1 else ''} {', '.join(names[:_LISTED])}{more}"
