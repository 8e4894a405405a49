"""The Fourier transform, which runs on GPUs, gives what the convolution gives."""

import pytest
import torch
from torch import nn

from mmer.model.encoders.positions import fourier_convolution


@pytest.mark.parametrize("length", [1, 7, 129, 300])
@pytest.mark.parametrize(("width", "bias"), [(128, True), (9, False)])
def test_values_and_gradients_are_those_of_the_convolution(length: int, width: int, bias: bool) -> None:
    conv = nn.Conv1d(12, 12, width, padding=width // 2, groups=3, bias=bias)
    frames = torch.randn(2, length, 12, requires_grad=True)
    expected = conv(frames.transpose(1, 2)).transpose(1, 2)[:, :length]
    found = fourier_convolution(conv, frames)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    inputs = [frames, *conv.parameters()]
    upstream = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_the_type_of_the_frames_is_kept() -> None:
    conv = nn.Conv1d(4, 4, 8, padding=4, groups=2).to(torch.bfloat16)
    frames = torch.randn(2, 50, 4, dtype=torch.bfloat16)
    found = fourier_convolution(conv, frames)
    assert found.dtype == torch.bfloat16
    expected = conv(frames.transpose(1, 2)).transpose(1, 2)[:, :-1]
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)
