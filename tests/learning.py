"""A learning model, its batch, and one of two processes that share the batch.

In a module of its own because a spawned process must import it by name.
"""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from tiny import speech_inputs, text_inputs, tiny_model
from torch import Tensor, nn

from mmer.model import MMERForEmotionRecognition
from mmer.objectives.gradient_cache import Kept, backward_in_parts, split_batch
from mmer.objectives.multitask import multitask_loss

LENGTHS, TOKENS = [4800, 8000, 6400, 5000, 7000, 4000], [3, 5, 4, 6, 2, 4]


def batch(model: MMERForEmotionRecognition) -> dict[str, Tensor]:
    inputs: dict[str, Tensor] = {}
    for prefix, seed in (("", 0), ("augmented_", 1)):
        view = speech_inputs(model, LENGTHS, seed) | text_inputs(TOKENS, seed)
        inputs |= {prefix + name: tensor for name, tensor in view.items()}
    inputs["labels"] = torch.tensor([0, 1, 0, 2, 1, 0])
    inputs["ctc_labels"] = torch.full((6, 3), -100)
    inputs["ctc_labels"][0] = torch.tensor([5, 6, 7])
    inputs["ctc_labels"][3, 0] = 8
    return {
        name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in inputs.items()
    }


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def summarize(model: nn.Module, part: Mapping[str, Any], kept: Kept | None = None) -> dict[str, Tensor]:
    return model(**part, kept=kept).summary


def learning_model(**settings: Any) -> MMERForEmotionRecognition:
    settings = {"text_train": "full", "class_weights": [1.0, 2.0, 0.5, 1.0], **settings}
    return tiny_model("wav2vec2-layer", **settings).double().train()


def process(rank: int, folder: str) -> None:
    """Train on half of the batch and write the gradients to `folder`."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.set_num_threads(1)
    model = learning_model().eval()
    mine = {name: tensor[rank * 3 : rank * 3 + 3] for name, tensor in batch(model).items()}
    parallel = nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)

    def gather(tensor: Tensor) -> Tensor:
        everywhere = [torch.empty_like(tensor) for _ in range(2)]
        torch.distributed.all_gather(everywhere, tensor.contiguous())
        return torch.cat(everywhere)

    backward_in_parts(
        split_batch(mine, 2),
        partial(summarize, parallel),
        partial(multitask_loss, model.config),
        Tensor.backward,
        gather=gather,
        rank=rank,
        unsynchronized=parallel.no_sync,
    )
    torch.save(gradients(model), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
