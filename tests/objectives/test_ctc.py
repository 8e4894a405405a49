"""CTC against the sum over all alignments, written out."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmer.objectives.ctc import ctc_losses, ctc_objective, official_ctc_objective


def slow_ctc(logits: Tensor, target: list[int]) -> Tensor:
    """-log of the summed probability of every frame labelling that collapses to the target; (frames, symbols)."""
    probabilities = logits.softmax(dim=-1)
    frames, symbols = logits.shape
    total = torch.zeros((), dtype=logits.dtype)
    for path in itertools.product(range(symbols), repeat=frames):
        collapsed = [symbol for symbol, _ in itertools.groupby(path) if symbol != 0]
        if collapsed == target:
            total = total + torch.stack([probabilities[t, s] for t, s in enumerate(path)]).prod()
    return -torch.log(total)


@given(
    frames=st.integers(1, 5),
    target=st.lists(st.integers(1, 2), min_size=1, max_size=4),
    padding=st.integers(0, 2),
    seed=st.integers(0, 1000),
)
def test_ctc_is_the_sum_over_alignments(frames: int, target: list[int], padding: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, frames + padding, 3, generator=generator, requires_grad=True)
    labels = torch.tensor([target + [-100] * padding])
    losses, present, infinite = ctc_losses(logits, torch.tensor([frames]), labels)
    slow = slow_ctc(logits[0, :frames], target)
    assert present.item()
    assert infinite.item() == math.isinf(slow.item())
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    if infinite.item():
        assert losses.item() == 0
        assert gradient.abs().max() == 0
    else:
        torch.testing.assert_close(losses[0], slow, atol=1e-4, rtol=1e-4)
        (expected,) = torch.autograd.grad(slow, logits)
        torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-4)


def test_utterances_without_transcript_or_alignment_are_left_out_of_the_mean() -> None:
    logits = torch.randn(4, 6, 5)
    labels = torch.tensor([[1, 2, -100, -100], [-100] * 4, [3, 3, 3, 3], [4, -100, -100, -100]])
    counts = torch.tensor([6, 6, 6, 6])
    loss = ctc_objective(*ctc_losses(logits, counts, labels))
    expected = (slow_ctc(logits[0], [1, 2]) + slow_ctc(logits[3], [4])) / 2
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)


def test_the_mean_over_a_single_usable_utterance_is_its_loss() -> None:
    logits, counts = torch.randn(2, 6, 5), torch.tensor([6, 6])
    loss = ctc_objective(*ctc_losses(logits, counts, torch.tensor([[1, 2], [-100, -100]])))
    torch.testing.assert_close(loss, slow_ctc(logits[0], [1, 2]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "computed"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_is_computed_in_float32_and_double_precision_stays(
    given: torch.dtype, computed: torch.dtype
) -> None:
    logits, counts, labels = torch.randn(1, 6, 5).to(given), torch.tensor([6]), torch.tensor([[1, 2]])
    losses, _, _ = ctc_losses(logits, counts, labels)
    assert losses.dtype == computed
    torch.testing.assert_close(losses, ctc_losses(logits.to(computed), counts, labels)[0])


def test_a_batch_without_transcripts_costs_nothing() -> None:
    logits = torch.randn(2, 6, 5, requires_grad=True)
    loss = ctc_objective(*ctc_losses(logits, torch.tensor([6, 5]), torch.full((2, 1), -100)))
    assert loss.item() == 0
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.abs().max() == 0


def test_the_official_ctc_is_a_sum_and_may_be_infinite() -> None:
    logits = torch.randn(2, 6, 5)
    labels = torch.tensor([[1, 2, -100, -100], [4, -100, -100, -100]])
    losses, _, infinite = ctc_losses(logits, torch.tensor([6, 6]), labels)
    loss = official_ctc_objective(losses, infinite)
    expected = slow_ctc(logits[0], [1, 2]) + slow_ctc(logits[1], [4])
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)
    losses, _, infinite = ctc_losses(logits, torch.tensor([1, 6]), labels)
    assert official_ctc_objective(losses, infinite).item() == math.inf
