"""Any `transformers` speech encoder, made independent of the padding of its batch.

Three things leak padding in these encoders; each is closed here:

- the GroupNorm after the first convolution of the group-norm kind (wav2vec2-base, HuBERT-base, WavLM-base,
  UniSpeech-SAT-base) averages over time, padding included: `masked_group_norm` averages over the valid frames;
- the stack of positional convolutions of data2vec-audio feeds what its first layer wrote into the padding to
  the next: `MaskedPositionalConvolutions` clears the padding after every layer;
- attention and pooling see the padding unless masked: an attention mask is always given.
"""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.data2vec.modeling_data2vec_audio import Data2VecAudioPositionalConvEmbedding

from mmer.errors import EncoderError
from mmer.model.encoders.trainable import choose_trainable, learns
from mmer.objectives.gradient_cache import Kept

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


def check_speech_config(config: PreTrainedConfig) -> None:
    """Find out whether a configuration is of a supported speech encoder.

    Raises:
        EncoderError: it is of another kind, or has an adapter.
    """
    if config.model_type not in SUPPORTED:
        raise EncoderError(
            f"speech encoder of type '{config.model_type}' is not supported; supported are {', '.join(SUPPORTED)}"
        )
    if getattr(config, "add_adapter", False):
        raise EncoderError(
            "speech encoders with an adapter are not supported, since its convolutions mix padding into frames; "
            "set add_adapter to false in the encoder's config.json"
        )


class MaskedGroupNormLayer(GradientCheckpointingLayer):
    """The first convolution of the group-norm kind, normalized over the valid frames alone.

    Args:
        layer: a convolution, a GroupNorm with one group per channel, and an activation, which become this layer's.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.conv, self.layer_norm, self.activation = layer.conv, layer.layer_norm, layer.activation
        assert self.layer_norm.num_groups == self.layer_norm.num_channels

    def forward(self, hidden_states: Tensor, counts: Tensor) -> Tensor:
        """(batch, channels, frames) of (batch, 1, samples); `counts` are the valid frames, (batch,)."""
        return self.activation(masked_group_norm(self.layer_norm, self.conv(hidden_states), counts))


def masked_group_norm(norm: nn.GroupNorm, hidden: Tensor, counts: Tensor) -> Tensor:
    """GroupNorm with one group per channel and statistics of the valid frames alone.

    Args:
        norm: gives weight, bias and epsilon.
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


class MaskedPositionalConvolutions(nn.Module):
    """data2vec-audio's positional convolutions with the padding cleared after every layer."""

    def __init__(self, convolutions: Data2VecAudioPositionalConvEmbedding) -> None:
        super().__init__()
        self.layers = convolutions.layers

    def forward(self, hidden_states: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """What to add to (batch, frames, size).

        The encoder, which calls it without a mask, is given what has positions already: nothing is left to add.
        """
        if frame_mask is None:
            return torch.zeros_like(hidden_states)
        hidden_states = hidden_states.transpose(1, 2)
        for layer in self.layers:
            hidden_states = layer(hidden_states) * frame_mask[:, None, :]
        return hidden_states.transpose(1, 2)


class SpeechEncoder(nn.Module):
    """Frames of a speech encoder: A in the paper.

    Raises:
        EncoderError: the configuration is not of a supported kind, or has an adapter, or `train` does not suit it; see
            `choose_trainable`.
    """

    def __init__(self, config: PreTrainedConfig, *, train: str, freeze_feature_extractor: bool) -> None:
        super().__init__()
        check_speech_config(config)
        self.model: Any = AutoModel.from_config(config, trust_remote_code=False)
        self.trained = train
        self.has_convolutions = config.model_type != "wav2vec2-bert"
        self._close_padding_leaks()
        choose_trainable(self.model, train, "speech")
        if self.has_convolutions and (freeze_feature_extractor or train != "full"):
            self.model.feature_extractor._freeze_parameters()

    def _close_padding_leaks(self) -> None:
        if not self.has_convolutions:
            return
        convolutions = self.model.feature_extractor.conv_layers
        if isinstance(getattr(convolutions[0], "layer_norm", None), nn.GroupNorm):
            convolutions[0] = MaskedGroupNormLayer(convolutions[0])
        positions = self.model.encoder.pos_conv_embed
        if isinstance(positions, Data2VecAudioPositionalConvEmbedding):
            self.model.encoder.pos_conv_embed = MaskedPositionalConvolutions(positions)

    def train(self, mode: bool = True) -> "SpeechEncoder":
        """A frozen encoder stays in evaluation mode: no dropout, no SpecAugment, nothing to compute again."""
        super().train(mode and self.trained != "frozen")
        if self.has_convolutions and not learns(self.model.feature_extractor):
            self.model.feature_extractor.eval()
        return self

    def forward(
        self, inputs: Tensor, attention_mask: Tensor, kept: Kept | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode a batch.

        Args:
            inputs: (batch, samples) waveforms, zero where padded, or (batch, frames, bins) log-mel features.
            attention_mask: (batch, samples or frames), 1 where valid, padding on the right.
            kept: keeps, or gives back, what does not learn.

        Returns:
            (batch, frames, size) and the mask of its valid frames, (batch, frames) bool.
        """
        if kept is not None and not learns(self):
            return kept(self._encode, inputs, attention_mask)
        return self._encode(inputs, attention_mask, kept)

    def _encode(
        self, inputs: Tensor, attention_mask: Tensor, kept: Kept | None = None
    ) -> tuple[Tensor, Tensor]:
        if not self.has_convolutions:
            hidden = self.model(inputs, attention_mask=attention_mask).last_hidden_state
            return hidden, attention_mask.bool()
        config, samples = self.model.config, attention_mask.sum(dim=-1)
        longest = convolution_frames(config, inputs.shape[1])
        frame_mask = (
            torch.arange(longest, device=inputs.device) < convolution_frames(config, samples)[:, None]
        )
        if kept is not None and not learns(self.model.feature_extractor):
            extracted = kept(self._convolve, inputs, samples)
        else:
            extracted = self._convolve(inputs, samples)
        return self._transform(extracted, frame_mask), frame_mask

    def _convolve(self, waveforms: Tensor, samples: Tensor) -> Tensor:
        """(batch, frames, channels) of (batch, samples), of which `samples` are valid."""
        hidden = waveforms[:, None]
        for layer in self.model.feature_extractor.conv_layers:
            if isinstance(layer, MaskedGroupNormLayer):
                hidden = layer(hidden, convolution_frames(self.model.config, samples, layers=1))
            else:
                hidden = layer(hidden)
        return hidden.transpose(1, 2)

    def _transform(self, extracted: Tensor, frame_mask: Tensor) -> Tensor:
        """What follows the convolutions, as in the encoder's own `forward`, which has no argument for lengths."""
        projected = self.model.feature_projection(extracted)
        hidden = projected if isinstance(projected, Tensor) else projected[0]
        hidden = self.model._mask_hidden_states(hidden, attention_mask=frame_mask)
        positions = self.model.encoder.pos_conv_embed
        if isinstance(positions, MaskedPositionalConvolutions):
            hidden = hidden.masked_fill(~frame_mask[:, :, None], 0.0)
            hidden = hidden + positions(hidden, frame_mask)
        return self.model.encoder(hidden, attention_mask=frame_mask).last_hidden_state
