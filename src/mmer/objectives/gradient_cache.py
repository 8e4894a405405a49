"""Compute the gradient of a large batch in the memory of a small one.

The contrastive objectives compare every utterance with every other, so they profit from large batches, whose
activations do not fit in memory. But the loss needs little of each utterance: its logits, its embeddings and its CTC
loss, here called its summary. Therefore (Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup, 2021):

1. each part of the batch passes through the network without a graph, which gives its summary;
2. the loss of the whole batch gives the gradient of each summary;
3. each part passes through the network again, with the same random numbers, and the gradient of its summary flows back.

Frozen layers, such as the convolutions of a pretrained speech encoder, run in the first pass alone; `Kept` stores their
outputs for the second. The result is the gradient of the whole batch for any objectives.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from mmer.objectives.ctc import IGNORED

Summary = dict[str, Tensor]
Loss = tuple[Tensor, dict[str, Tensor], Tensor]
Output = TypeVar("Output")

_MASKS = {
    "speech_attention_mask": ("input_values", "input_features", "speech_hidden_states"),
    "text_attention_mask": ("input_ids", "text_hidden_states"),
}


class Kept:
    """Stores the outputs of frozen layers, which draw no random numbers, for one part of a batch.

    It stores outputs in the first pass; after `again`, it returns them in the same order.
    """

    def __init__(self) -> None:
        self._outputs: deque[Any] = deque()
        self._gives_back = False

    def again(self) -> None:
        """Begin the second pass."""
        self._gives_back = True

    def __call__(self, compute: Callable[..., Output], *inputs: Tensor) -> Output:
        """Compute and store an output in the first pass; return the stored one in the second.

        Args:
            compute: the frozen layers.
            inputs: arguments of `compute`, tensors (utterances, ...).
        """
        if self._gives_back:
            return self._outputs.popleft()
        output = compute(*inputs)
        self._outputs.append(output)
        return output


def split_batch(batch: Mapping[str, Tensor], size: int) -> list[dict[str, Tensor]]:
    """Cut a batch into parts, each padded to its own longest clip.

    Args:
        batch: arguments of `MMERForEmotionRecognition.forward`, (utterances, ...) each, with `labels`. What it holds
            for each utterance apart has no padding.
        size: utterances of a part; the last one may have fewer.

    Returns:
        The arguments of each part, (size, ...) each.
    """
    count = len(batch["labels"])
    parts = []
    for start in range(0, count, size):
        part = {name: tensor[start : start + size] for name, tensor in batch.items()}
        for prefix in ("", "augmented_"):
            for mask_name, inputs in _MASKS.items():
                mask = part.get(prefix + mask_name)
                if mask is None:
                    continue
                longest = int(mask.sum(dim=1).max())
                for name in (mask_name, *inputs):
                    if isinstance(padded := part.get(prefix + name), Tensor):
                        part[prefix + name] = padded[:, :longest]
        if "ctc_labels" in part:
            longest = int((part["ctc_labels"] != IGNORED).sum(dim=1).max())
            part["ctc_labels"] = part["ctc_labels"][:, : max(longest, 1)]
        parts.append(part)
    return parts


def backward_in_parts(
    parts: Sequence[Mapping[str, Tensor]],
    summarize: Callable[[Mapping[str, Tensor], Kept | None], Summary],
    loss_of: Callable[[Summary], Loss],
    backward: Callable[[Tensor], None],
    *,
    gather: Callable[[Tensor], Tensor] | None = None,
    rank: int = 0,
    unsynchronized: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Loss:
    """Add the gradient of the whole batch's loss to the parameters.

    Args:
        parts: result of `split_batch`.
        summarize: runs the network on a part and returns its summary, the inputs of `multitask_loss`, (utterances, ...)
            each; takes the outputs of frozen layers from `Kept`, if there is one.
        loss_of: maps the summary of the whole batch to the results of `multitask_loss`.
        backward: runs the backward pass from a scalar.
        gather: concatenates a tensor (utterances, ...) over all processes, whose batches have one size. The loss is
            then that of their joint batch, and so is the gradient, provided that gradients are averaged over processes.
            None for one process.
        rank: number of this process.
        unsynchronized: context in which gradients are not averaged over processes; all parts but the last run in it.

    Returns:
        The results of `loss_of`, scalars without a graph.
    """
    # 1. The summary of each part, with a graph only if there is a single part.
    summaries, states, kept = [], [], [Kept() for _ in parts]
    if len(parts) == 1:
        summaries = [summarize(parts[0], None)]
    else:
        for part, outputs in zip(parts, kept, strict=True):
            states.append(_random_state())
            with torch.no_grad():
                summaries.append(summarize(part, outputs))
    # 2. The loss of the whole batch, and its gradient with respect to this process's summaries.
    whole = {name: torch.cat([each[name].detach() for each in summaries]) for name in summaries[0]}
    (loss, objectives, infinite_ctc), gradients = _loss_and_gradients(whole, loss_of, gather, rank)
    # 3. Each part again, and the gradient of its summary back through the network.
    start = 0
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        with nullcontext() if last else unsynchronized():
            if len(parts) == 1:
                summary = summaries[0]
            else:
                _set_random_state(states[number])
                kept[number].again()
                summary = summarize(part, kept[number])
            stop = start + len(summary["labels"])
            # The scalar whose gradient with respect to each summary is that of step 2.
            backward(
                torch.stack([(summary[name] * g[start:stop]).sum() for name, g in gradients.items()]).sum()
            )
            start = stop
    return loss.detach(), {name: value.detach() for name, value in objectives.items()}, infinite_ctc


def _loss_and_gradients(
    summary: Summary, loss_of: Callable[[Summary], Loss], gather: Callable[[Tensor], Tensor] | None, rank: int
) -> tuple[Loss, Summary]:
    """Compute the loss of all processes' summaries and its gradient with respect to this process's, (utterances, ...).

    The gradient is multiplied by the number of processes, over which it is averaged afterward.
    """
    count, processes = len(summary["labels"]), 1
    if gather is not None:
        summary = {name: gather(tensor) for name, tensor in summary.items()}
        processes = len(summary["labels"]) // count
    leaves = {name: tensor.requires_grad_() for name, tensor in summary.items() if tensor.is_floating_point()}
    loss = loss_of(summary)
    found = torch.autograd.grad(loss[0], list(leaves.values()), allow_unused=True)
    mine = slice(rank * count, (rank + 1) * count)
    gradients = {
        name: gradient[mine] * processes
        for name, gradient in zip(leaves, found, strict=True)
        if gradient is not None
    }
    return loss, gradients


def _random_state() -> tuple[Any, Tensor, list[Tensor]]:
    """Read the state of NumPy's generator, which masks spans in `transformers`, and of PyTorch's on CPU and GPUs."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return np.random.get_state(), torch.get_rng_state(), gpus


def _set_random_state(state: tuple[Any, Tensor, list[Tensor]]) -> None:
    numpy, cpu, gpus = state
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    if gpus:
        torch.cuda.set_rng_state_all(gpus)
