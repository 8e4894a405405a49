"""Positional convolutions of speech encoders, whose result is added to the frames before the transformer layers."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.data2vec.modeling_data2vec_audio import Data2VecAudioPositionalConvEmbedding


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


class PositionalConvolution(nn.Module):
    """The one wide convolution of wav2vec 2.0 and its kin; on a GPU through Fourier transforms.

    With 128 frames and 16 groups, cuDNN takes four times as long (docs/speed.md). On a CPU it is the other way round.

    Args:
        positions: of `transformers`; its parts are taken over.
    """

    def __init__(self, positions: Any) -> None:
        super().__init__()
        self.conv, self.padding, self.activation = positions.conv, positions.padding, positions.activation

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Compute the positional embeddings, (batch, frames, size), of frames of this shape."""
        if hidden_states.is_cuda:
            return self.activation(fourier_convolution(self.conv, hidden_states))
        return self.activation(self.padding(self.conv(hidden_states.transpose(1, 2))).transpose(1, 2))


def fourier_convolution(conv: nn.Conv1d, frames: Tensor) -> Tensor:
    """Convolve (batch, frames, channels) as `conv` does, to as many frames, by products in the frequency domain.

    Args:
        conv: a convolution in groups, of stride 1, padded by half of its kernel, to as many channels.
        frames: of any type; the result has the same type, and is computed in float32.
    """
    batch, length, channels = frames.shape
    width, groups = conv.kernel_size[0], conv.groups
    size = channels // groups
    padded = 2  # a power of two, or three quarters of one: few lengths, for which plans are kept
    while padded < length + width - 1:
        padded *= 2
    if 3 * padded // 4 >= length + width - 1:
        padded = 3 * padded // 4
    with torch.autocast(frames.device.type, enabled=False):
        spectra = torch.fft.rfft(frames.float(), padded, dim=1).view(batch, -1, groups, size)
        kernels = torch.fft.rfft(conv.weight.float(), padded, dim=2).view(groups, size, size, -1)
        # (frequency, group, batch, in) times (frequency, group, in, out)
        products = spectra.permute(1, 2, 0, 3) @ kernels.permute(3, 0, 2, 1).conj()
        products = products.permute(2, 0, 1, 3).reshape(batch, -1, channels)
        convolved = torch.fft.irfft(products, padded, dim=1).roll(width // 2, dims=1)[:, :length]
        if conv.bias is not None:
            convolved = convolved + conv.bias.float()
    return convolved.to(frames.dtype)
