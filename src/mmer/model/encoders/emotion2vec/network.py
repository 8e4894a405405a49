"""The emotion2vec encoder, made of the layers of data2vec-audio.

emotion2vec is a data2vec 2.0 network. It differs from the data2vec-audio of `transformers` in two things. Learned
extra tokens stand before the frames; they take part in attention, and are removed after the last layer. Attention is
biased by the distance of two frames (ALiBi, Press et al., 2022), with a learned scale for each head.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.data2vec.modeling_data2vec_audio import (
    Data2VecAudioEncoder,
    Data2VecAudioFeatureEncoder,
    Data2VecAudioFeatureProjection,
    Data2VecAudioModel,
    Data2VecAudioPreTrainedModel,
)

from mmer.model.encoders.emotion2vec.configuration import Emotion2VecConfig


class Emotion2VecEncoder(Data2VecAudioEncoder):
    """Positional convolutions and transformer layers that read extra tokens and frames."""

    def __init__(self, config: Emotion2VecConfig) -> None:
        super().__init__(config)
        self.extra_tokens = nn.Parameter(torch.empty(1, config.num_extra_tokens, config.hidden_size))
        self.alibi_scale = nn.Parameter(torch.empty(1, config.num_attention_heads, 1, 1))

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutput:
        """Encode a batch.

        Args:
            hidden_states: (batch, frames, size).
            attention_mask: (batch, frames) bool, true where valid; None if all frames are.

        Returns:
            The last hidden states of the frames, (batch, frames, size).
        """
        if attention_mask is not None:
            hidden_states = hidden_states.masked_fill(~attention_mask[:, :, None], 0.0)
        hidden_states = hidden_states + self.pos_conv_embed(hidden_states)
        # `len` is fixed in an exported graph
        tokens = self.extra_tokens.expand(hidden_states.shape[0], -1, -1)
        hidden_states = self.dropout(self.layer_norm(torch.cat([tokens, hidden_states], dim=1)))
        bias = self._attention_bias(hidden_states, attention_mask)
        for layer in self.layers:
            if self.training and torch.rand([]) < self.config.layerdrop:
                continue
            hidden_states = layer(hidden_states, attention_mask=bias, **kwargs)
        return BaseModelOutput(last_hidden_state=hidden_states[:, tokens.shape[1] :])

    def _attention_bias(self, hidden_states: Tensor, frame_mask: Tensor | None) -> Tensor:
        """Compute what attention adds to its scores, (batch or 1, heads, tokens + frames, tokens + frames)."""
        extra = self.extra_tokens.shape[1]
        positions = torch.arange(hidden_states.shape[1] - extra, device=hidden_states.device)
        distances = (positions[:, None] - positions).abs()
        slopes = alibi_slopes(self.config.num_attention_heads, hidden_states.device)
        bias = -slopes[:, None, None] * distances * self.alibi_scale.float().clamp_min(0)
        bias = F.pad(bias, (extra, 0, extra, 0)).to(hidden_states.dtype)
        if frame_mask is None:
            return bias
        valid = F.pad(frame_mask, (extra, 0), value=True)
        return bias.masked_fill(~valid[:, None, None, :], torch.finfo(bias.dtype).min)


def alibi_slopes(heads: int, device: torch.device) -> Tensor:
    """Compute the slope of ALiBi of each attention head, (heads,).

    A power of two, n, of heads has the slopes 2^(-8/n), 2^(-16/n), …, 2^-8. For any other number, the heads beyond the
    largest such n take every second slope of 2n heads.
    """
    power = 2 ** int(math.log2(heads))
    exponents = torch.cat(
        [
            (1 + torch.arange(power, device=device)) * (8 / power),
            (1 + 2 * torch.arange(heads - power, device=device)) * (4 / power),
        ]
    )
    return torch.exp2(-exponents)


class Emotion2VecModel(Data2VecAudioModel):
    """An emotion2vec encoder, which `SpeechEncoder` runs.

    `SpeechEncoder` also normalizes the waveforms; the `forward` of this class does not.
    """

    config: Emotion2VecConfig
    base_model_prefix = "emotion2vec"
    # These kinds of attention cannot add a bias.
    _supports_flash_attn = False
    _supports_flex_attn = False

    def __init__(self, config: Emotion2VecConfig) -> None:
        # `Data2VecAudioModel.__init__` would build an encoder of its own first.
        Data2VecAudioPreTrainedModel.__init__(self, config)
        self.feature_extractor = Data2VecAudioFeatureEncoder(config)
        self.feature_projection = Data2VecAudioFeatureProjection(config)
        if config.mask_time_prob or config.mask_feature_prob:
            self.masked_spec_embed = nn.Parameter(torch.empty(config.hidden_size))
        self.encoder = Emotion2VecEncoder(config)
        self.adapter = None
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Emotion2VecEncoder):
            init.normal_(module.extra_tokens)
            init.ones_(module.alibi_scale)
