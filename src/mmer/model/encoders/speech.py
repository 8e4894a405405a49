"""Any supported speech encoder, which gives the frames A of section 2.2, independent of padding.

Padding leaks into frames in three places: the GroupNorm of `convolutions.py` and the positional convolutions of
`positions.py`, which close it, and attention and pooling, which are always given a mask.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.data2vec.modeling_data2vec_audio import Data2VecAudioPositionalConvEmbedding

from mmer.errors import EncoderError
from mmer.model.encoders.convolutions import convolution_frames, normalized_waveforms, replace_convolutions
from mmer.model.encoders.layers import LAST, LayerWeights, chosen_layers, record_layers, states_read
from mmer.model.encoders.positions import MaskedPositionalConvolutions, PositionalConvolution
from mmer.model.encoders.trainable import choose_trainable, learns
from mmer.model.encoders.wavlm_attention import position_bias, use_attention_kernels
from mmer.objectives.gradient_cache import Kept
from mmer.recipe.values import LAST_LAYERS

FUNCTIONALS_SCALE = 3.0
"""Factor on functionals beside the frames, so that their few weights learn as fast as the layers of the encoder."""
_CONTINUED = ("data2vec-audio", "hubert", "unispeech-sat", "wav2vec2", "wavlm")
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


def frozen_below(config: PreTrainedConfig, train: str) -> int | None:
    """Return the number of lowest layers whose output is the same in every epoch, where only the last ones learn.

    None where all layers learn or none, where SpecAugment changes what they read, and for encoders whose layers read
    more than hidden states, masks and WavLM's bias.
    """
    number = LAST_LAYERS.fullmatch(train)
    if number is None or config.model_type not in _CONTINUED or config.apply_spec_augment:
        return None
    return max(0, config.num_hidden_layers - int(number[1]))


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
        self.below = frozen_below(model.config, train)
        self._close_padding_leaks()
        if model.config.model_type == "wavlm":
            use_attention_kernels(model.encoder.layers)
        mixed = chosen_layers(layers, model.config.num_hidden_layers, "speech")
        self.layer_weights = None if mixed is None else LayerWeights(mixed)
        if mixed is not None or self.below is not None:
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
        if self.below is not None:
            self.model.eval()
            self.model.encoder.layers[self.below :].train(mode)
        if self.has_convolutions and not learns(self.model.feature_extractor):
            self.model.feature_extractor.eval()
        return self

    def forward(
        self, inputs: Tensor, attention_mask: Tensor, kept: Kept | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode a batch.

        Args:
            inputs: (batch, samples) waveforms, zero where padded, (batch, frames, bins) log-mel features, or
                (batch, frames, layers, size) of `frozen_states`.
            attention_mask: (batch, samples or frames), 1 where valid, padding on the right.
            kept: stores, or returns, the outputs of frozen parts.

        Returns:
            A, (batch, frames, size + functionals), and the mask of its valid frames, (batch, frames) bool.
        """
        if inputs.ndim == 4:
            frame_mask = attention_mask.bool()
            states = self._continued(self.mixed(inputs).unbind(dim=2), frame_mask)
        elif kept is not None and (self.below is not None or not learns(self.model)):
            states, frame_mask = kept(self.frozen_states, inputs, attention_mask)
            states = self._continued(states, frame_mask)
        else:
            states, frame_mask = self.hidden_states(inputs, attention_mask, kept)
        hidden = states[0] if self.layer_weights is None or len(states) == 1 else self.layer_weights(states)
        if self.functionals:
            # The mean over the valid frames, all of which hold the same, so that padding does not matter.
            counts = attention_mask.sum(dim=1).clamp(min=1)
            functionals = inputs[..., -self.functionals :]
            of_clip = FUNCTIONALS_SCALE * functionals.sum(dim=1, keepdim=True) / counts[:, None, None]
            hidden = torch.cat([hidden, of_clip.expand(-1, hidden.shape[1], -1).to(hidden.dtype)], dim=-1)
        return hidden, frame_mask

    def mixed(self, stored: Tensor | Sequence[Tensor]) -> Tensor:
        """Mix stored hidden states, unless layers of the encoder go on from them, and pad them.

        Args:
            stored: (batch, frames, layers, size) of `frozen_states`, or what this returned; or (frames, layers, size)
                of each utterance.

        Returns:
            (batch, frames, 1 or layers, size), zero where padded.
        """
        if not isinstance(stored, Tensor):  # mixed first, since all layers together are far larger
            return pad_sequence([self.mixed(each) for each in stored], batch_first=True)
        if self.layer_weights is None or self.below is not None or stored.shape[-2] == 1:
            return stored
        return self.layer_weights(stored).unsqueeze(-2)

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
        last_of, frame_mask = self._prepared(inputs, attention_mask, kept)
        frames = frame_mask.shape[1]  # without those of `_with_room_for_a_span`
        return [states[:, :frames] for states in self._read_states(last_of)], frame_mask

    def frozen_states(self, inputs: Tensor, attention_mask: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Compute the hidden states that the frozen part gives, from which `forward` goes on.

        Args:
            inputs, attention_mask: as for `hidden_states`, of an encoder that `is_stored`.

        Returns:
            As `hidden_states`, for an encoder that is frozen. Of one whose last layers learn, the hidden states that
            are read below these, and last the one that the first of them reads.
        """
        if self.below is None:
            return self.hidden_states(inputs, attention_mask)
        last_of, frame_mask = self._prepared(inputs, attention_mask, None)
        return states_read(last_of, self.model.config.num_hidden_layers, self.frozen_numbers), frame_mask

    @property
    def is_stored(self) -> bool:
        """Tell whether `frozen_states` are the same in every epoch, so that they may be stored."""
        return self.trained == "frozen" or self.below is not None

    @property
    def stored_weights(self) -> dict[str, Tensor]:
        """The weights that `frozen_states` depend on, and others that do not change."""
        learning = [] if self.below is None else list(self.model.encoder.layers)[self.below :]
        left_out = {id(weight) for layer in learning for weight in layer.state_dict(keep_vars=True).values()}
        weights = self.model.state_dict(keep_vars=True)
        return {name: weight for name, weight in weights.items() if id(weight) not in left_out}

    @property
    def _numbers(self) -> list[int]:
        """Numbers of the hidden states that are read."""
        return (
            [self.model.config.num_hidden_layers] if self.layer_weights is None else self.layer_weights.layers
        )

    @property
    def frozen_numbers(self) -> list[int]:
        """Numbers of the hidden states of `frozen_states`, where the last layers learn."""
        assert self.below is not None
        return [*(number for number in self._numbers if number < self.below), self.below]

    def _prepared(
        self, inputs: Tensor, attention_mask: Tensor, kept: Kept | None
    ) -> tuple[Callable[[], Tensor], Tensor]:
        """Return what runs the layers and gives the last hidden states, and the mask of the valid frames."""
        if not self.has_convolutions:
            frames, mask = self._with_room_for_a_span(
                inputs[..., : inputs.shape[-1] - self.functionals], attention_mask
            )
            return (
                lambda: self.model(frames, attention_mask=mask).last_hidden_state,
                attention_mask.bool(),
            )
        config, samples = self.model.config, attention_mask.sum(dim=-1)
        longest = convolution_frames(config, inputs.shape[1])
        frame_mask = (
            torch.arange(longest, device=inputs.device) < convolution_frames(config, samples)[:, None]
        )
        if kept is not None and not learns(self.model.feature_extractor):
            extracted = kept(self._convolve, inputs, samples)
        else:
            extracted = self._convolve(inputs, samples)
        return lambda: self._transform(extracted, frame_mask), frame_mask

    def _with_room_for_a_span(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pad (batch, frames, channels) and its mask to the length of a span that SpecAugment masks.

        transformers masks no span of a clip that is shorter, and refuses a batch in which all clips are.
        """
        config = self.model.config
        missing = config.mask_time_length - frames.shape[1]
        if not (self.model.training and config.apply_spec_augment) or missing <= 0:
            return frames, mask
        return F.pad(frames, (0, 0, 0, missing)), F.pad(mask, (0, missing))

    def _read_states(self, last_of: Callable[[], Tensor]) -> list[Tensor]:
        """Run the layers and return the hidden states that are read; `last_of` gives those of the last layer."""
        if self.layer_weights is None:
            return [last_of()]
        config = self.model.config
        extra = getattr(config, "num_extra_tokens", 0)  # of emotion2vec
        return states_read(last_of, config.num_hidden_layers, self._numbers, extra)

    def _continued(self, states: Sequence[Tensor], frame_mask: Tensor) -> Sequence[Tensor]:
        """Run the layers that learn on `frozen_states`, and return the hidden states that are read.

        The encoder's own `forward` does the same, but begins with the first layer.
        """
        if self.below is None:
            return states
        known = dict(zip(self.frozen_numbers, states, strict=True))
        encoder, hidden = self.model.encoder, known[self.below]
        is_wavlm = self.model.config.model_type == "wavlm"
        mask: Any = frame_mask
        if not is_wavlm:
            mask = create_bidirectional_mask(encoder.config, inputs_embeds=hidden, attention_mask=frame_mask)
        bias = position_bias(encoder.layers, hidden) if is_wavlm and self.below else None
        for number, layer in enumerate(encoder.layers[self.below :], start=self.below):
            known[number] = hidden
            if is_wavlm:
                hidden, bias = layer(hidden, attention_mask=mask, position_bias=bias)
            else:
                hidden = layer(hidden, attention_mask=mask)
        if getattr(self.model.config, "do_stable_layer_norm", False):
            hidden = encoder.layer_norm(hidden)
        known[len(encoder.layers)] = hidden
        return [known[number] for number in self._numbers]

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
        extracted, frame_mask = self._with_room_for_a_span(extracted, frame_mask)
        projected = self.model.feature_projection(extracted)
        hidden = projected if isinstance(projected, Tensor) else projected[0]
        hidden = self.model._mask_hidden_states(hidden, attention_mask=frame_mask)
        positions = self.model.encoder.pos_conv_embed
        if isinstance(positions, MaskedPositionalConvolutions):
            hidden = hidden.masked_fill(~frame_mask[:, :, None], 0.0)
            hidden = hidden + positions(hidden, frame_mask)
        return self.model.encoder(hidden, attention_mask=frame_mask).last_hidden_state
