"""Pooling over the valid positions alone."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import model_config, row, speech_inputs, text_inputs, tiny_model
from torch import Tensor

from mmer.model.pooling import Pooling

KINDS = ["max", "mean", "attentive-statistics"]


def obvious(pooling: Pooling, sequence: Tensor) -> list[float]:
    """One sequence without padding, a position at a time."""
    columns = list(zip(*sequence.tolist(), strict=True))
    if pooling.kind == "max":
        return [float(max(column)) for column in columns]
    weights = [1 / len(sequence)] * len(sequence)
    if pooling.attention is not None:
        inner, _, outer = pooling.attention
        hidden = [[math.tanh(each) for each in inner(position).tolist()] for position in sequence]
        scores = [math.exp(outer(torch.tensor(each)).item()) for each in hidden]
        weights = [score / sum(scores) for score in scores]
    means = [sum(w * x for w, x in zip(weights, column, strict=True)) for column in columns]
    if pooling.kind == "mean":
        return [float(mean) for mean in means]
    variances = [
        sum(w * (x - mean) ** 2 for w, x in zip(weights, column, strict=True))
        for mean, column in zip(means, columns, strict=True)
    ]
    return means + [math.sqrt(max(variance, 1e-6)) for variance in variances]


@given(
    kind=st.sampled_from(KINDS),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
)
def test_every_kind_is_the_obvious_loop_whatever_the_padding(
    kind: str, lengths: list[int], seed: int
) -> None:
    torch.manual_seed(seed)
    pooling = Pooling(kind, 3)  # pyright: ignore[reportArgumentType]
    sequence = torch.randn(len(lengths), max(lengths), 3) * 5
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        pooled = pooling(sequence, mask)
        garbage = pooling(sequence.masked_fill(~mask[:, :, None], 1e4), mask)
        expected = torch.tensor(
            [obvious(pooling, rows[:count]) for rows, count in zip(sequence, lengths, strict=True)]
        )
    assert pooled.shape == (len(lengths), pooling.output_size)
    torch.testing.assert_close(pooled, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pooled, garbage)


def test_the_gradient_of_a_single_position_is_finite() -> None:
    pooling = Pooling("attentive-statistics", 3)
    sequence = torch.randn(1, 1, 3, requires_grad=True)
    pooling(sequence, torch.ones(1, 1, dtype=torch.bool)).sum().backward()
    assert sequence.grad is not None
    assert sequence.grad.isfinite().all()


@pytest.mark.parametrize("fusion", ["mmer", "naive", "speech", "text"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_utterance_has_one_answer_in_any_batch(fusion: str, kind: str) -> None:
    model = tiny_model(fusion=fusion, pooling=kind)
    assert {part.kind for part in model.modules() if isinstance(part, Pooling)} == {kind}
    batch = speech_inputs(model, [4800, 16_000, 7999]) if fusion != "text" else {}
    batch |= text_inputs([2, 20, 9])
    sides = batch if fusion != "text" else batch | {"speech_attention_mask": torch.ones(3, 1)}
    with torch.no_grad():
        together = model(**batch)
        for i in range(3):
            alone = model(**{name: tensor for name, tensor in row(sides, i).items() if name in batch})
            torch.testing.assert_close(alone.logits[0], together.logits[i], atol=1e-4, rtol=0)
    assert together.fused_embedding.shape[1] == model.fusion.output_size


def test_the_paper_pools_by_the_maximum_and_learns_nothing_more() -> None:
    assert model_config().pooling == "max"
    assert not [name for name in tiny_model().state_dict() if "pooling" in name or "layer_weights" in name]
    with pytest.raises(
        ValueError, match="pooling 'median' is not known; it must be max or mean or attentive"
    ):
        model_config(pooling="median")
