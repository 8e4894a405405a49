"""Layers of speech encoders through which padding would leak into frames, rebuilt so that it does not.

- The GroupNorm after the first convolution of the group-norm kind (wav2vec2-base, HuBERT-base, WavLM-base,
  UniSpeech-SAT-base) averages over time, padding included: `masked_group_norm` averages over the valid frames.
- Each positional convolution of data2vec-audio and emotion2vec writes into the padding, which the next one reads:
  `MaskedPositionalConvolutions` clears the padding after every layer.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.data2vec.modeling_data2vec_audio import Data2VecAudioPositionalConvEmbedding


class MaskedGroupNormLayer(GradientCheckpointingLayer):
    """The first layer of encoders of the group-norm kind, normalized over the valid frames alone.

    Args:
        layer: a convolution, a GroupNorm with one group per channel, and an activation, which this layer takes over.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.conv, self.layer_norm, self.activation = layer.conv, layer.layer_norm, layer.activation
        assert self.layer_norm.num_groups == self.layer_norm.num_channels

    def forward(self, hidden_states: Tensor, counts: Tensor) -> Tensor:
        """Convolve and normalize a batch.

        Args:
            hidden_states: (batch, 1, samples).
            counts: (batch,) valid frames, at least 1.

        Returns:
            (batch, channels, frames).
        """
        return self.activation(masked_group_norm(self.layer_norm, self.conv(hidden_states), counts))


def masked_group_norm(norm: nn.GroupNorm, hidden: Tensor, counts: Tensor) -> Tensor:
    """Apply GroupNorm with one group per channel, with statistics of the valid frames alone.

    Args:
        norm: supplies weight, bias and epsilon.
        hidden: (batch, channels, frames).
        counts: (batch,) valid frames, at least 1.

    Returns:
        (batch, channels, frames).
    """
    padded = torch.arange(hidden.shape[-1], device=hidden.device) >= counts[:, None]
    wide = hidden.float()
    valid = (~padded).to(wide.dtype)
    mean = torch.bmm(wide, valid[:, :, None]) / counts[:, None, None]
    centered = (wide - mean).masked_fill_(padded[:, None, :], 0.0)
    variance = torch.linalg.vector_norm(centered, dim=-1, keepdim=True).square() / counts[:, None, None]
    scale = torch.rsqrt(variance + norm.eps) * norm.weight[:, None]
    return torch.addcmul(norm.bias[:, None], centered, scale).to(hidden.dtype)


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


class MaskedPositionalConvolutions(nn.Module):
    """The positional convolutions of data2vec-audio and emotion2vec, with the padding cleared after every layer."""

    def __init__(self, convolutions: Data2VecAudioPositionalConvEmbedding) -> None:
        super().__init__()
        self.layers = convolutions.layers

    def forward(self, hidden_states: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """Compute the positional embeddings to add to the frames.

        `SpeechEncoder` calls this with a mask and adds the result. The encoder of `transformers` then calls it again
        without a mask, and gets zeros.

        Args:
            hidden_states: (batch, frames, size), zero where padded.
            frame_mask: (batch, frames) bool, true where valid.

        Returns:
            (batch, frames, size).
        """
        if frame_mask is None:
            return torch.zeros_like(hidden_states)
        hidden_states = hidden_states.transpose(1, 2)
        for layer in self.layers:
            hidden_states = layer(hidden_states) * frame_mask[:, None, :]
        return hidden_states.transpose(1, 2)
