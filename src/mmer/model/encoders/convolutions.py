"""The convolutional feature extractor of wav2vec 2.0 and its kin, independent of padding.

The layers of `transformers` are replaced by layers that have the same weights and keep the channels last in memory.
Half-precision convolutions of a GPU are quicker in this order, and LayerNorm needs no transposition.

The GroupNorm after the first convolution of the group-norm kind (wav2vec2-base, HuBERT-base, WavLM-base,
UniSpeech-SAT-base) averages over time, padding included. `folded_group_norm` takes its statistics from the valid
samples alone, and makes it part of the convolution.
"""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.modeling_layers import GradientCheckpointingLayer

Count = TypeVar("Count", int, Tensor)


def convolution_frames(config: PreTrainedConfig, samples: Count) -> Count:
    """Count the frames that the convolutions make of samples.

    Args:
        config: of an encoder with a convolutional feature extractor.
        samples: a number, or a tensor of numbers, (batch,).
    """
    frames = samples
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        frames = (frames - kernel) // stride + 1
    return frames


def receptive_field(config: PreTrainedConfig) -> int:
    """Count the samples that one frame of a convolutional feature extractor is computed from: the shortest clip."""
    field = 1
    for kernel, stride in reversed(list(zip(config.conv_kernel, config.conv_stride, strict=True))):
        field = (field - 1) * stride + kernel
    return field


def normalized_waveforms(waveforms: Tensor, samples: Tensor) -> Tensor:
    """Bring each waveform to mean 0 and variance 1 over its valid samples, as LayerNorm does to each alone.

    Args:
        waveforms: (batch, samples), zero where padded.
        samples: (batch,) valid samples, at least 1.

    Returns:
        (batch, samples), zero where padded.
    """
    padded = torch.arange(waveforms.shape[1], device=waveforms.device) >= samples[:, None]
    centered = waveforms - waveforms.sum(dim=1, keepdim=True) / samples[:, None]
    centered = centered.masked_fill(padded, 0.0)
    variance = centered.square().sum(dim=1, keepdim=True) / samples[:, None]
    return centered * torch.rsqrt(variance + 1e-5)


def replace_convolutions(extractor: Any) -> None:
    """Replace the layers of a feature extractor of `transformers` by those of this module, with the same weights."""
    layers = extractor.conv_layers
    for i, layer in enumerate(layers):
        layers[i] = (FirstConvolution if i == 0 else Convolution)(layer)


class _Layer(GradientCheckpointingLayer):
    """A convolution over time, a LayerNorm over channels where there is one, and an activation.

    Args:
        layer: of `transformers`; its parts are taken over.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.conv, self.activation = layer.conv, layer.activation
        if hasattr(layer, "layer_norm"):
            self.layer_norm = layer.layer_norm

    def _finish(self, convolved: Tensor) -> Tensor:
        return self.activation(self.layer_norm(convolved) if hasattr(self, "layer_norm") else convolved)


class Convolution(_Layer):
    """A layer above the first."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, frames, channels) to (batch, fewer frames, channels)."""
        stride = (1, *self.conv.stride)
        # A convolution in two dimensions, since PyTorch has no order of memory with the channels last for one.
        image = hidden.transpose(1, 2)[:, :, None]
        convolved = nn.functional.conv2d(image, self.conv.weight[:, :, None], self.conv.bias, stride)
        return self._finish(convolved[:, :, 0].transpose(1, 2))


class FirstConvolution(_Layer):
    """The first layer, which convolves waveforms, and normalizes with GroupNorm or LayerNorm or not at all."""

    def forward(self, waveforms: Tensor, samples: Tensor) -> Tensor:
        """Convolve and normalize a batch.

        Args:
            waveforms: (batch, samples), zero where padded.
            samples: (batch,) valid samples, at least the size of the kernel.

        Returns:
            (batch, frames, channels).
        """
        windows = waveforms.unfold(1, self.conv.kernel_size[0], self.conv.stride[0])
        if isinstance(getattr(self, "layer_norm", None), nn.GroupNorm):
            counts = (samples - self.conv.kernel_size[0]) // self.conv.stride[0] + 1
            weight, bias = folded_group_norm(self.conv, self.layer_norm, windows, counts)
            return self.activation(torch.baddbmm(bias[:, None], windows, weight.transpose(1, 2)))
        return self._finish(nn.functional.linear(windows, self.conv.weight[:, 0], self.conv.bias))


def folded_group_norm(
    conv: nn.Conv1d, norm: nn.GroupNorm, windows: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor]:
    """Make GroupNorm with one group per channel part of the convolution before it, with statistics of valid frames.

    A channel of a frame is w x + b, with the window x and the weights w. Its mean over the frames is w E(x) + b and its
    variance w C w', with the covariance C of the windows, (kernel, kernel), which is much smaller than the output of
    the convolution. In float64, since a filter may leave a millionth of the energy.

    Args:
        conv: a convolution of one channel.
        norm: supplies weight, bias and epsilon.
        windows: (batch, frames, kernel) of the waveforms.
        counts: (batch,) valid frames, at least 1.

    Returns:
        Weights (batch, channels, kernel) and biases (batch, channels) for each utterance, of the type of the windows.
    """
    assert norm.num_groups == norm.num_channels
    wide, weight = windows.double(), conv.weight[:, 0].double()
    valid = (torch.arange(windows.shape[1], device=windows.device) < counts[:, None]).double()
    counts = counts[:, None, None]
    mean = valid[:, None] @ wide / counts
    centered = (wide - mean) * valid[:, :, None]
    covariance = centered.transpose(1, 2) @ centered / counts
    variance = ((weight @ covariance) * weight).sum(dim=-1)
    scale = torch.rsqrt(variance + norm.eps) * norm.weight
    bias = norm.bias - scale * (mean @ weight.T)[:, 0]
    return (scale[:, :, None] * weight).to(windows.dtype), bias.to(windows.dtype)
