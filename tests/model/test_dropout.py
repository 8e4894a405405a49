"""Dropout on a processor: how often, how scaled, and what it leaves as it is."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mmer.model.dropout import Dropout, quicken_dropout


@given(
    shape=st.lists(st.integers(0, 7), min_size=0, max_size=4),
    p=st.floats(0.01, 0.99),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_elements_are_dropped_or_scaled(shape: list[int], p: float, dtype: torch.dtype) -> None:
    ones = torch.ones(shape, dtype=dtype)
    left = Dropout(p)(ones)
    assert (left.shape, left.dtype) == (ones.shape, dtype)
    scaled = torch.tensor(1 / (1 - round(p * 65_536) / 65_536)).to(dtype)
    torch.testing.assert_close(left[left != 0], scaled.expand(shape)[left != 0], rtol=1e-6, atol=0)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_every_element_is_dropped_with_the_probability(p: float) -> None:
    """The four elements of one number too, and each of them apart from the others; bounds of five deviations."""
    torch.manual_seed(0)
    dropped = (Dropout(p)(torch.ones(250_000, 4)) == 0).double()
    deviation = (p * (1 - p)) ** 0.5 / 500
    assert (dropped.mean(dim=0) - p).abs().max() < 5 * deviation
    centered = dropped - p
    beside = torch.cat([centered[:-1], centered[1:]], dim=1)  # of one number, and of the next
    correlations = beside.T @ beside / len(beside) / (p * (1 - p))
    assert (correlations - torch.eye(8)).abs().max() < 5 / 500 * 3  # the variance of rare events varies most


def test_gradients_are_those_of_the_mask() -> None:
    values = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    left = Dropout(0.3)(values)
    left.sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad * values.detach(), left.detach())


def test_draws_depend_on_the_seed_alone() -> None:
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return Dropout(0.5)(torch.ones(1000))

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    dropout = Dropout(0.5)
    assert not torch.equal(dropout(torch.ones(1000)), dropout(torch.ones(1000)))


def test_answers_and_the_ends_of_the_range_are_those_of_pytorch() -> None:
    ones = torch.ones(1000)
    assert torch.equal(Dropout(0.5).eval()(ones), ones)
    assert torch.equal(Dropout(0.0)(ones), ones)
    assert torch.equal(Dropout(1.0)(ones), torch.zeros(1000))


def test_every_dropout_of_a_model_is_replaced() -> None:
    model = nn.Sequential(nn.Dropout(0.1), nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2)).eval()
    names = set(model.state_dict())
    quicken_dropout(model)
    kinds = {type(module): module for module in model.modules() if isinstance(module, nn.Dropout)}
    assert set(kinds) == {Dropout}
    assert not kinds[Dropout].training
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.1, 0.2}
    assert set(model.state_dict()) == names
