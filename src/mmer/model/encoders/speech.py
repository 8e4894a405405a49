"""Any supported speech encoder, which gives the frames A of section 2.2, independent of padding.

In these encoders, padding leaks into frames in three places; each leak is closed here:

- the GroupNorm after the first convolution averages over time, padding included: `convolutions.py` averages over the
  valid frames;
- each positional convolution of data2vec-audio and emotion2vec writes into the padding, which the next one reads:
  `MaskedPositionalConvolutions` clears the padding after every layer;
- attention and pooling include the padding unless it is masked: an attention mask is always given.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.data2vec.modeling_data2vec_audio import Data2VecAudioPositionalConvEmbedding

from mmer.errors import EncoderError
from mmer.model.encoders.convolutions import convolution_frames, normalized_waveforms, replace_convolutions
from mmer.model.encoders.layers import LAST, LayerWeights, chosen_layers, record_layers, recording
from mmer.model.encoders.positions import MaskedPositionalConvolutions, PositionalConvolution
from mmer.model.encoders.trainable import choose_trainable, learns
from mmer.objectives.gradient_cache import Kept

FUNCTIONALS_SCALE = 3.0
"""Factor on functionals beside the frames, so that their few weights learn as fast as the layers of the encoder."""
SUPPORTED = ("data2vec-audio", "hubert", "unispeech-sat", "wav2vec2", "wav2vec2-bert", "wavlm", "emotion2vec")


def check_speech_config(config: PreTrainedConfig) -> None:
    """Check that a configuration describes a supported speech encoder.

    Raises:
        EncoderError: the encoder is of another kind, or has an adapter.
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


def new_speech_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """Build an encoder of `transformers` with random weights.

    Raises:
        EncoderError: as for `check_speech_config`.
    """
    check_speech_config(config)
    return AutoModel.from_config(config, trust_remote_code=False)


class SpeechEncoder(nn.Module):
    """A speech encoder that gives the frames A of section 2.2.

    Args:
        model: the encoder of `transformers`, changed in place.
        train: weights that learn: `full`, `frozen`, `lora` or `last:N`.
        freeze_feature_extractor: whether the convolutional feature extractor stays as it is; always so unless `train`
            is `full`.
        layers: hidden states that are read: `last`, `weighted` or their numbers.
        functionals: number of the last columns of log-mel features that hold functionals of the clip.

    Raises:
        EncoderError: the encoder is of an unsupported kind or has an adapter, or does not allow `train` or `layers`;
            see `choose_trainable` and `chosen_layers`.
    """

    # `Any`: the kinds of encoders share attributes, not a class that declares them.
    def __init__(
        self,
        model: Any,
        *,
        train: str,
        freeze_feature_extractor: bool,
        layers: str | Sequence[int] = LAST,
        functionals: int = 0,
    ) -> None:
        super().__init__()
        check_speech_config(model.config)
        self.model = model
        self.trained = train
        self.functionals = functionals
        self.has_convolutions = model.config.model_type != "wav2vec2-bert"
        self._close_padding_leaks()
        mixed = chosen_layers(layers, model.config.num_hidden_layers, "speech")
        self.layer_weights = None if mixed is None else LayerWeights(mixed)
        if mixed is not None:
            record_layers(model.encoder.layers)
        choose_trainable(self.model, train, "speech")
        if self.has_convolutions and (freeze_feature_extractor or train != "full"):
            self.model.feature_extractor._freeze_parameters()

    def _close_padding_leaks(self) -> None:
        if not self.has_convolutions:
            return
        replace_convolutions(self.model.feature_extractor)
        positions = self.model.encoder.pos_conv_embed
        if isinstance(positions, Data2VecAudioPositionalConvEmbedding):
            self.model.encoder.pos_conv_embed = MaskedPositionalConvolutions(positions)
        elif getattr(positions, "batch_norm", None) is None:
            self.model.encoder.pos_conv_embed = PositionalConvolution(positions)

    def train(self, mode: bool = True) -> "SpeechEncoder":
        """Set the mode; frozen parts stay in evaluation mode, without dropout, SpecAugment and checkpointing."""
        super().train(mode and self.trained != "frozen")
        if self.has_convolutions and not learns(self.model.feature_extractor):
            self.model.feature_extractor.eval()
        return self

    def forward(
        self, inputs: Tensor, attention_mask: Tensor, kept: Kept | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode a batch.

        Args:
            inputs: (batch, samples) waveforms, zero where padded, (batch, frames, bins) log-mel features, or
                (batch, frames, layers, size) of `hidden_states`.
            attention_mask: (batch, samples or frames), 1 where valid, padding on the right.
            kept: stores, or returns, the outputs of frozen parts.

        Returns:
            A, (batch, frames, size + functionals), and the mask of its valid frames, (batch, frames) bool.
        """
        if inputs.ndim == 4:
            states, frame_mask = inputs.unbind(dim=2), attention_mask.bool()
        elif kept is not None and not learns(self.model):
            states, frame_mask = kept(self.hidden_states, inputs, attention_mask)
        else:
            states, frame_mask = self.hidden_states(inputs, attention_mask, kept)
        hidden = states[0] if self.layer_weights is None else self.layer_weights(states)
        if self.functionals:
            # The mean over the valid frames, all of which hold the same, so that padding does not matter.
            counts = attention_mask.sum(dim=1).clamp(min=1)
            functionals = inputs[..., -self.functionals :]
            of_clip = FUNCTIONALS_SCALE * functionals.sum(dim=1, keepdim=True) / counts[:, None, None]
            hidden = torch.cat([hidden, of_clip.expand(-1, hidden.shape[1], -1).to(hidden.dtype)], dim=-1)
        return hidden, frame_mask

    def hidden_states(
        self, inputs: Tensor, attention_mask: Tensor, kept: Kept | None = None
    ) -> tuple[Sequence[Tensor], Tensor]:
        """Compute the hidden states that are read.

        Args:
            inputs: waveforms or log-mel features, as for `forward`.
            attention_mask, kept: as for `forward`.

        Returns:
            The last hidden states, or those of each of `layer_weights.layers`, (batch, frames, size) each, and the mask
            of the valid frames, (batch, frames) bool.
        """
        if not self.has_convolutions:
            frames = inputs[..., : inputs.shape[-1] - self.functionals]
            states = self._read_states(
                lambda: self.model(frames, attention_mask=attention_mask).last_hidden_state
            )
            return states, attention_mask.bool()
        config, samples = self.model.config, attention_mask.sum(dim=-1)
        longest = convolution_frames(config, inputs.shape[1])
        frame_mask = (
            torch.arange(longest, device=inputs.device) < convolution_frames(config, samples)[:, None]
        )
        if kept is not None and not learns(self.model.feature_extractor):
            extracted = kept(self._convolve, inputs, samples)
        else:
            extracted = self._convolve(inputs, samples)
        return self._read_states(lambda: self._transform(extracted, frame_mask)), frame_mask

    def _read_states(self, last_of: Callable[[], Tensor]) -> list[Tensor]:
        """Run the layers and return the hidden states that are read; `last_of` gives those of the last layer."""
        if self.layer_weights is None:
            return [last_of()]
        with recording() as read:
            state = last_of()
        config = self.model.config
        states = {config.num_hidden_layers: state}
        extra = getattr(config, "num_extra_tokens", 0)  # of emotion2vec, in front of the frames
        for number in reversed(range(config.num_hidden_layers)):
            if number in read:  # otherwise LayerDrop skipped the layer, which leaves its input as it is
                state = read[number][:, extra:]
            states[number] = state
        return [states[number] for number in self.layer_weights.layers]

    def _convolve(self, waveforms: Tensor, samples: Tensor) -> Tensor:
        """Convolve (batch, samples), of which `samples`, (batch,), are valid, to (batch, frames, channels)."""
        if getattr(self.model.config, "normalize_waveforms", False):
            waveforms = normalized_waveforms(waveforms, samples)
        first, *others = self.model.feature_extractor.conv_layers
        hidden = first(waveforms, samples)
        for layer in others:
            hidden = layer(hidden)
        return hidden

    def _transform(self, extracted: Tensor, frame_mask: Tensor) -> Tensor:
        """Run the layers after the convolutions on (batch, frames, channels), to (batch, frames, size).

        The encoder's own `forward` does the same, but has no argument for lengths.
        """
        projected = self.model.feature_projection(extracted)
        hidden = projected if isinstance(projected, Tensor) else projected[0]
        hidden = self.model._mask_hidden_states(hidden, attention_mask=frame_mask)
        positions = self.model.encoder.pos_conv_embed
        if isinstance(positions, MaskedPositionalConvolutions):
            hidden = hidden.masked_fill(~frame_mask[:, :, None], 0.0)
            hidden = hidden + positions(hidden, frame_mask)
        return self.model.encoder(hidden, attention_mask=frame_mask).last_hidden_state
