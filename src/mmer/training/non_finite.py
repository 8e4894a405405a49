"""Which utterances a loss that is not finite comes from, and what to do about it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

_LISTED = 5


class Suspects(NamedTuple):
    """What may be wrong with the utterances of a batch; it stays on the device until it is asked for.

    Attributes:
        broken: (utterances,) bool, what the network says of it is not finite.
        infinite_ctc: (utterances,) bool, its transcript needs more frames than the encoder makes of its sound.
    """

    broken: Tensor
    infinite_ctc: Tensor

    @classmethod
    def of(cls, parts: Sequence[Self], count: int) -> Self:
        """Those of a batch of `count` utterances, of its parts in order; parts seen again are left out."""
        return cls(*(torch.cat(each)[:count] for each in zip(*parts, strict=True)))


def suspects(summary: Mapping[str, Tensor]) -> Suspects:
    """Of the utterances of a summary, as `multitask_loss` takes it."""
    said = [
        tensor.detach().flatten(1) if tensor.ndim > 1 else tensor.detach()[:, None]
        for tensor in summary.values()
        if tensor.is_floating_point()
    ]
    broken = torch.stack([~tensor.isfinite().all(dim=1) for tensor in said]).any(dim=0)
    return Suspects(broken, summary.get("ctc_infinite", torch.zeros_like(broken)))


def found_out(batches: Sequence[tuple[Sequence[str], Suspects]], *, infinite_ctc_counts: bool) -> str:
    """Which utterances it was, why, and what to do.

    Args:
        batches: ids of the utterances, and what may be wrong with them.
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
