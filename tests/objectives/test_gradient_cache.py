"""The gradient of a batch in parts is that of the batch."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing
from learning import batch, gradients, learning_model, process, summarize
from processes import SERVER
from torch import Tensor

from mmer.objectives.gradient_cache import Kept, backward_in_parts, split_batch
from mmer.objectives.multitask import multitask_loss

LORA = {"rank": 3, "alpha": 6.0, "dropout": 0.2}


@pytest.mark.parametrize(
    "settings",
    [
        {"formulation": "paper"},
        {"formulation": "official"},
        {"speech_train": "last:1", "text_train": "lora", "lora": LORA},
    ],
)
def test_the_gradient_is_that_of_all_parts_held_in_memory_at_once(settings: dict[str, Any]) -> None:
    """Dropout on, float64, every parameter, parts of unequal size."""
    model = learning_model(**settings)
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
        parts,
        partial(summarize, model),
        partial(multitask_loss, model.config),
        Tensor.backward,
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


@pytest.mark.parametrize("settings", [{}, {"speech_train": "frozen", "text_train": "frozen"}])
def test_what_does_not_learn_runs_once(settings: dict[str, bool]) -> None:
    model = learning_model(**settings)
    assert model.speech_encoder is not None
    frozen: list[torch.nn.Module] = [model.speech_encoder.model.feature_extractor]
    if settings:
        assert model.text_encoder is not None
        frozen = [model.speech_encoder, model.text_encoder]
    parts = split_batch(batch(model), 2)
    computed: list[str] = []
    for module in frozen:  # a layer inside runs where the module computes, not where it gives back
        layer = next(part for part in module.modules() if isinstance(part, torch.nn.LayerNorm))
        layer.register_forward_hook(lambda *_: computed.append("once"))

    def forgetting(part: Mapping[str, Any], kept: Kept | None) -> dict[str, Tensor]:
        return summarize(model, part)

    def run(summary: Callable[[Mapping[str, Any], Kept | None], dict[str, Tensor]]) -> None:
        torch.manual_seed(7)
        backward_in_parts(parts, summary, partial(multitask_loss, model.config), Tensor.backward)

    run(forgetting)
    twice, expected = len(computed), gradients(model)
    computed.clear()
    model.zero_grad()
    run(partial(summarize, model))
    assert (twice, len(computed)) == (6 * len(frozen), 3 * len(frozen))
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients(model)[name], gradient, rtol=1e-12, atol=0)


def test_memory_holds_one_part() -> None:
    """No more than one graph is alive at a time, and none in the first pass."""
    model = learning_model()
    alive: list[bool] = []

    def recorded(part: Mapping[str, Any], kept: Kept | None) -> dict[str, Tensor]:
        summary = summarize(model, part, kept)
        alive.append(summary["logits"].requires_grad)
        return summary

    backward_in_parts(
        split_batch(batch(model), 2), recorded, partial(multitask_loss, model.config), Tensor.backward
    )
    assert alive == [False] * 3 + [True] * 3


def test_the_second_pass_draws_the_random_numbers_of_the_first() -> None:
    """Of PyTorch, for dropout, and of NumPy, with which transformers masks spans."""
    model = learning_model()
    drawn: list[tuple[float, float]] = []

    def recorded(part: Mapping[str, Any], kept: Kept | None) -> dict[str, Tensor]:
        drawn.append((torch.rand(()).item(), np.random.random()))
        return summarize(model, part, kept)

    backward_in_parts(
        split_batch(batch(model), 2), recorded, partial(multitask_loss, model.config), Tensor.backward
    )
    assert drawn[:3] == drawn[3:]
    assert len(set(drawn)) == 3


def test_two_processes_give_the_gradient_of_one(tmp_path: Any) -> None:
    method = SERVER.get_start_method()
    start = multiprocessing.start_processes  # pyright: ignore[reportPrivateImportUsage]
    start(process, (str(tmp_path),), nprocs=2, start_method=method)
    model = learning_model().eval()
    model(**batch(model)).loss.backward()
    expected = gradients(model)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert set(found) == set(expected)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-12)
