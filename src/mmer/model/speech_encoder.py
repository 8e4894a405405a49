"""Any `transformers` speech encoder, made independent of the padding of its batch.

Three things leak padding in these encoders; each is closed here:

- the GroupNorm after the first convolution of the group-norm kind (wav2vec2-base, HuBERT-base, WavLM-base,
  UniSpeech-SAT-base) averages over time, padding included: `MaskedGroupNorm` averages over the valid frames;
- the stack of positional convolutions of data2vec-audio feeds what its first layer wrote into the padding to
  the next: `MaskedPositionalConvolutions` clears the padding after every layer;
- attention and pooling see the padding unless masked: an attention mask is always given.
"""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig
from transformers.models.data2vec.modeling_data2vec_audio import Data2VecAudioPositionalConvEmbedding

from mmer.errors import EncoderError
from mmer.model.trainable import choose_trainable

Count = TypeVar("Count", int, Tensor)
SUPPORTED = ("data2vec-audio", "hubert", "unispeech-sat", "wav2vec2", "wav2vec2-bert", "wavlm")


def convolution_frames(config: PreTrainedConfig, samples: Count, layers: int | None = None) -> Count:
    """Frames that the first `layers` convolutions (default: all) make of that many samples."""
    frames = samples
    for kernel, stride in list(zip(config.conv_kernel, config.conv_stride, strict=True))[:layers]:
        frames = (frames - kernel) // stride + 1
    return frames


def receptive_field(config: PreTrainedConfig) -> int:
    """Samples that one frame of a convolutional feature extractor is computed from; the shortest usable clip."""
    field = 1
    for kernel, stride in reversed(list(zip(config.conv_kernel, config.conv_stride, strict=True))):
        field = (field - 1) * stride + kernel
    return field


class Padding:
    """Which part of the batch being encoded is valid; shared by an encoder and the layers that must know."""

    samples: Tensor | None = None
    frame_mask: Tensor | None = None


class MaskedGroupNorm(nn.GroupNorm):
    """GroupNorm over (batch, channels, frames) with one group per channel and statistics of the valid frames alone."""

    def __init__(self, norm: nn.GroupNorm, config: PreTrainedConfig, padding: Padding) -> None:
        super().__init__(norm.num_groups, norm.num_channels, eps=norm.eps)
        assert norm.num_groups == norm.num_channels
        self.weight, self.bias = norm.weight, norm.bias
        self.config = config
        self.padding = padding

    def forward(self, input: Tensor) -> Tensor:
        if self.padding.samples is None:
            return super().forward(input)
        counts = convolution_frames(self.config, self.padding.samples, layers=1)
        padded = torch.arange(input.shape[-1], device=input.device) >= counts[:, None]
        wide = input.float()
        valid = (~padded).to(wide.dtype)
        mean = torch.bmm(wide, valid[:, :, None]) / counts[:, None, None]
        centered = (wide - mean).masked_fill_(padded[:, None, :], 0.0)
        variance = torch.linalg.vector_norm(centered, dim=-1, keepdim=True).square() / counts[:, None, None]
        scale = torch.rsqrt(variance + self.eps) * self.weight[:, None]
        return torch.addcmul(self.bias[:, None], centered, scale).to(input.dtype)


class MaskedPositionalConvolutions(nn.Module):
    """data2vec-audio's positional convolutions with the padding cleared after every layer."""

    def __init__(self, convolutions: Data2VecAudioPositionalConvEmbedding, padding: Padding) -> None:
        super().__init__()
        self.layers = convolutions.layers
        self.padding = padding

    def forward(self, hidden_states: Tensor) -> Tensor:
        hidden_states = hidden_states.transpose(1, 2)
        for layer in self.layers:
            hidden_states = layer(hidden_states)
            if self.padding.frame_mask is not None:
                hidden_states = hidden_states * self.padding.frame_mask[:, None, :]
        return hidden_states.transpose(1, 2)


class SpeechEncoder(nn.Module):
    """Frames of a speech encoder: A in the paper.

    Raises:
        EncoderError: the configuration is not of a supported kind, or has an adapter, or `train` does not suit it; see
            `choose_trainable`.
    """

    def __init__(self, config: PreTrainedConfig, *, train: str, freeze_feature_extractor: bool) -> None:
        super().__init__()
        if config.model_type not in SUPPORTED:
            raise EncoderError(
                f"speech encoder of type '{config.model_type}' is not supported; supported are {', '.join(SUPPORTED)}"
            )
        if getattr(config, "add_adapter", False):
            raise EncoderError(
                "speech encoders with an adapter are not supported, since its convolutions mix padding into frames; "
                "set add_adapter to false in the encoder's config.json"
            )
        self.model: Any = AutoModel.from_config(config)
        self.trained = train
        self.has_convolutions = config.model_type != "wav2vec2-bert"
        self.padding = Padding()
        self._close_padding_leaks()
        choose_trainable(self.model, train, "speech")
        if self.has_convolutions and (freeze_feature_extractor or train != "full"):
            self.model.feature_extractor._freeze_parameters()

    def _close_padding_leaks(self) -> None:
        if not self.has_convolutions:
            return
        first = self.model.feature_extractor.conv_layers[0]
        if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
            first.layer_norm = MaskedGroupNorm(first.layer_norm, self.model.config, self.padding)
        positions = self.model.encoder.pos_conv_embed
        if isinstance(positions, Data2VecAudioPositionalConvEmbedding):
            self.model.encoder.pos_conv_embed = MaskedPositionalConvolutions(positions, self.padding)

    def train(self, mode: bool = True) -> "SpeechEncoder":
        """A frozen encoder stays in evaluation mode: no dropout, no SpecAugment."""
        return super().train(mode and self.trained != "frozen")

    def forward(self, inputs: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch.

        Args:
            inputs: (batch, samples) waveforms, zero where padded, or (batch, frames, bins) log-mel features.
            attention_mask: (batch, samples or frames), 1 where valid, padding on the right.

        Returns:
            (batch, frames, size) and the mask of its valid frames, (batch, frames) bool.
        """
        frame_mask = attention_mask.bool()
        if self.has_convolutions:
            samples = attention_mask.sum(dim=-1)
            counts = convolution_frames(self.model.config, samples)
            longest = convolution_frames(self.model.config, inputs.shape[1])
            frame_mask = torch.arange(longest, device=inputs.device) < counts[:, None]
            self.padding.samples, self.padding.frame_mask = samples, frame_mask
            for layer in self.model.feature_extractor.conv_layers:
                # Run again in the backward pass they would see the padding of a later batch.
                layer.gradient_checkpointing = False
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trained != "frozen"):
            frames = self.model(inputs, attention_mask=attention_mask).last_hidden_state
        return frames, frame_mask
