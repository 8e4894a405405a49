"""The gradient of a batch in parts is that of the batch."""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
import torch.multiprocessing as multiprocessing
from tiny import speech_inputs, text_inputs, tiny_model
from torch import Tensor, nn

from mmer.model import MMERForEmotionRecognition
from mmer.objectives.gradient_cache import backward_in_parts, split_batch
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


def summarize(model: nn.Module, part: Mapping[str, Any]) -> dict[str, Tensor]:
    return model(**part).summary


def learning_model(**settings: Any) -> MMERForEmotionRecognition:
    settings = {"freeze_text_encoder": False, "class_weights": [1.0, 2.0, 0.5, 1.0], **settings}
    return tiny_model("wav2vec2-layer", **settings).double().train()


@pytest.mark.parametrize("formulation", ["paper", "official"])
def test_the_gradient_is_that_of_all_parts_held_in_memory_at_once(formulation: str) -> None:
    """Dropout on, float64, every parameter, parts of unequal size."""
    model = learning_model(formulation=formulation)
    parts = split_batch(batch(model), 4)
    assert [len(part["labels"]) for part in parts] == [4, 2]

    torch.manual_seed(7)
    summaries = [summarize(model, part) for part in parts]
    whole = {name: torch.cat([each[name] for each in summaries]) for name in summaries[0]}
    expected_loss, expected_objectives, _ = multitask_loss(model.config, whole)
    expected_loss.backward()
    expected = gradients(model)
    model.zero_grad()

    torch.manual_seed(7)
    loss, objectives, _ = backward_in_parts(
        parts, partial(summarize, model), partial(multitask_loss, model.config), Tensor.backward
    )
    found = gradients(model)
    torch.testing.assert_close(loss, expected_loss.detach(), rtol=1e-12, atol=0)
    assert set(objectives) == set(expected_objectives)
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        error = (found[name] - gradient).norm() / gradient.norm().clamp(min=1e-12)
        assert error < 1e-10, name


def test_without_dropout_it_is_that_of_the_batch_in_one_piece() -> None:
    """The parts are trimmed to their longest clip, which changes nothing."""
    model = learning_model().eval()
    inputs = batch(model)
    model(**inputs).loss.backward()
    expected = gradients(model)
    model.zero_grad()
    parts = split_batch(inputs, 2)
    assert parts[2]["input_values"].shape[1] == 7000
    assert parts[2]["input_ids"].shape[1] == 4
    backward_in_parts(
        parts, partial(summarize, model), partial(multitask_loss, model.config), Tensor.backward
    )
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients(model)[name], gradient, rtol=1e-8, atol=1e-12)


def test_memory_holds_one_part() -> None:
    """No more than one graph is alive at a time, and none in the first pass."""
    model = learning_model()
    alive: list[bool] = []

    def recorded(part: Mapping[str, Any]) -> dict[str, Tensor]:
        summary = summarize(model, part)
        alive.append(summary["logits"].requires_grad)
        return summary

    backward_in_parts(
        split_batch(batch(model), 2), recorded, partial(multitask_loss, model.config), Tensor.backward
    )
    assert alive == [False] * 3 + [True] * 3


def _process(rank: int, folder: str) -> None:
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


def test_two_processes_give_the_gradient_of_one(tmp_path: Any) -> None:
    multiprocessing.spawn(_process, (str(tmp_path),), nprocs=2)  # pyright: ignore[reportPrivateImportUsage]
    model = learning_model().eval()
    model(**batch(model)).loss.backward()
    expected = gradients(model)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert set(found) == set(expected)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-12)
