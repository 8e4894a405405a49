"""The contrastive objectives against slow, obvious implementations of their equations."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmer.objectives.contrastive import (
    augmented_contrastive,
    official_augmented_contrastive,
    official_supervised_contrastive,
    supervised_contrastive,
)

TEMPERATURE = 0.5


def embeddings(count: int, seed: int, size: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator, dtype=torch.float64, requires_grad=True)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / (a.norm() * b.norm())


def slow_supervised(z: Tensor, labels: list[int], temperature: float) -> Tensor:
    anchors = []
    for i in range(len(z)):
        positives = [p for p in range(len(z)) if p != i and labels[p] == labels[i]]
        if not positives:
            continue
        others = torch.stack(
            [torch.exp(cosine(z[i], z[a]) / temperature) for a in range(len(z)) if a != i]
        ).sum()
        terms = [torch.log(torch.exp(cosine(z[i], z[p]) / temperature) / others) for p in positives]
        anchors.append(-torch.stack(terms).mean())
    return torch.stack(anchors).mean() if anchors else z.sum() * 0


def slow_augmented(z: Tensor, augmented: Tensor, temperature: float, normalize: bool) -> Tensor:
    similarity = cosine if normalize else torch.dot
    terms = []
    for i in range(len(z)):
        scores = [similarity(z[i], augmented[j]) / temperature for j in range(len(z))]
        terms.append(-scores[i] + torch.logsumexp(torch.stack(scores), dim=0))
    return torch.stack(terms).mean()


def slow_official_supervised(z: Tensor, labels: list[int], temperature: float) -> Tensor:
    pairs = []
    for i in range(len(z)):
        total = torch.stack([torch.exp(z[i] @ z[a]) for a in range(len(z))]).sum()
        pairs += [
            torch.log(torch.exp(z[i] @ z[p]) / total) / temperature
            for p in range(len(z))
            if labels[p] == labels[i]
        ]
    return -torch.stack(pairs).mean()


def assert_same_value_and_gradient(ours: Tensor, slow: Tensor, *inputs: Tensor) -> None:
    torch.testing.assert_close(ours, slow)
    for mine, theirs in zip(
        torch.autograd.grad(ours, inputs), torch.autograd.grad(slow, inputs), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=9), seed=st.integers(0, 1000))
def test_supervised_contrastive(labels: list[int], seed: int) -> None:
    z = embeddings(len(labels), seed)
    ours = supervised_contrastive(z, torch.tensor(labels), TEMPERATURE)
    assert_same_value_and_gradient(ours, slow_supervised(z, labels, TEMPERATURE), z)


@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=9), seed=st.integers(0, 1000))
def test_official_supervised_contrastive(labels: list[int], seed: int) -> None:
    z = embeddings(len(labels), seed)
    ours = official_supervised_contrastive(z, torch.tensor(labels), TEMPERATURE)
    assert_same_value_and_gradient(ours, slow_official_supervised(z, labels, TEMPERATURE), z)


@given(count=st.integers(1, 8), seed=st.integers(0, 1000), official=st.booleans())
def test_augmented_contrastive(count: int, seed: int, official: bool) -> None:
    z, augmented = embeddings(count, seed), embeddings(count, seed + 1)
    objective = official_augmented_contrastive if official else augmented_contrastive
    slow = slow_augmented(z, augmented, TEMPERATURE, normalize=not official)
    assert_same_value_and_gradient(objective(z, augmented, TEMPERATURE), slow, z, augmented)


def test_hand_computed_values() -> None:
    """Two pairs on the axes: each anchor has one positive at cosine 1 and two others at cosine 0."""
    z = torch.tensor([[2.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, 5.0]])
    labels = torch.tensor([0, 0, 1, 1])
    expected = math.log((math.exp(2) + 2) / math.exp(2))
    assert supervised_contrastive(z, labels, 0.5).item() == pytest.approx(expected, abs=1e-6)
    views = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert augmented_contrastive(views, views * 7, 0.5).item() == pytest.approx(
        math.log((math.exp(2) + 1) / math.exp(2)), abs=1e-6
    )


@pytest.mark.parametrize("labels", [[0, 1, 2], [0]])
def test_a_batch_without_positives_costs_nothing_and_has_a_zero_gradient(labels: list[int]) -> None:
    z = embeddings(len(labels), 0)
    loss = supervised_contrastive(z, torch.tensor(labels), 0.07)
    assert loss.item() == 0
    (gradient,) = torch.autograd.grad(loss, z)
    assert gradient.abs().max() == 0


@given(scale=st.floats(0.01, 100))
def test_the_length_of_an_embedding_does_not_matter_in_the_papers_formulation(scale: float) -> None:
    z, labels = embeddings(5, 3), torch.tensor([0, 0, 1, 1, 1])
    torch.testing.assert_close(
        supervised_contrastive(z * scale, labels, 0.07), supervised_contrastive(z, labels, 0.07)
    )
