"""The multimodal dynamic fusion network, section 2.2 and figure 1 of the paper."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmer.model.configuration import MMERConfig


def masked_max(sequence: Tensor, mask: Tensor) -> Tensor:
    """Maximum over the valid positions.

    Args:
        sequence: (batch, positions, size).
        mask: (batch, positions) bool, true where valid; at least one in each row.

    Returns:
        (batch, size).
    """
    return sequence.masked_fill(~mask[:, :, None], torch.finfo(sequence.dtype).min).amax(dim=1)


class CrossModalEncoder(nn.Module):
    """One post-norm transformer layer whose queries come from one sequence and keys and values from another.

    Given the same sequence twice it is a BERT layer.
    """

    def __init__(self, config: MMERConfig) -> None:
        super().__init__()
        size = config.hidden_size
        assert size is not None
        self.num_heads = config.num_attention_heads
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.attention_output = nn.Linear(size, size)
        self.attention_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.intermediate = nn.Linear(size, config.intermediate_size)
        self.output = nn.Linear(config.intermediate_size, size)
        self.output_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, queries: Tensor, keys: Tensor, key_mask: Tensor) -> Tensor:
        """Attend from `queries` to `keys`.

        Args:
            queries: (batch, query positions, d).
            keys: (batch, key positions, d).
            key_mask: (batch, key positions) bool, true where valid.

        Returns:
            (batch, query positions, d).
        """
        attended = F.scaled_dot_product_attention(
            self._split_heads(self.query(queries)),
            self._split_heads(self.key(keys)),
            self._split_heads(self.value(keys)),
            attn_mask=key_mask[:, None, None, :],
            dropout_p=self.dropout.p if self.training else 0.0,
        )
        attended = self.attention_output(attended.transpose(1, 2).flatten(2))
        hidden = self.attention_norm(queries + self.dropout(attended))
        transformed = self.output(F.gelu(self.intermediate(hidden)))
        return self.output_norm(hidden + self.dropout(transformed))

    def _split_heads(self, sequence: Tensor) -> Tensor:
        return sequence.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class MultimodalDynamicFusion(nn.Module):
    """Early fusion of speech frames and tokens by three cross-modal encoders and an acoustic gate.

    Names follow the paper: A are the speech frames, T the tokens after their own self-attention layer,

        P = B(W2 A, T)    text-aware speech frames               (block B)
        R = C(T, P)       speech-aware word representations      (block C)
        Q = D(T, W1 A)    word-aware speech representations      (block D)
        g = sigmoid(Wg [R; Q] + bg),   M = [R; g * Q]            (acoustic gate, block E)
        fused = [max over frames of A ; Wdown (max over tokens of M)]

    What `config.ablate` names is left out, and so is what nothing else needs then:

        text_self_attention    T = e_t
        block_b                P = W2 A
        block_c                R = T; P is needed no more, so B goes too
        block_d                M = R; there is nothing to gate, so the gate goes too
        gate                   M = [R; Q]
    """

    def __init__(self, config: MMERConfig) -> None:
        super().__init__()
        size = config.hidden_size
        assert size is not None
        assert config.speech_config is not None
        speech_size: int = config.speech_config.hidden_size
        self.output_size = speech_size + size
        self.dropout = nn.Dropout(config.dropout)
        left_out = set(config.ablate)
        if "block_c" in left_out:
            left_out.add("block_b")
        if "block_d" in left_out:
            left_out.add("gate")
        has_c, has_d = "block_c" not in left_out, "block_d" not in left_out
        self.text_self_attention = (
            CrossModalEncoder(config) if "text_self_attention" not in left_out else None
        )
        self.speech_to_keys = nn.Linear(speech_size, size) if has_d else None
        self.speech_to_queries = nn.Linear(speech_size, size) if has_c else None
        self.block_b = CrossModalEncoder(config) if "block_b" not in left_out else None
        self.block_c = CrossModalEncoder(config) if has_c else None
        self.block_d = CrossModalEncoder(config) if has_d else None
        self.gate = nn.Linear(2 * size, size) if "gate" not in left_out else None
        self.down_projection = nn.Linear(2 * size if has_d else size, size)

    def forward(self, frames: Tensor, frame_mask: Tensor, tokens: Tensor, token_mask: Tensor) -> Tensor:
        """Fuse one batch.

        Args:
            frames: A, (batch, frames, speech size).
            frame_mask: (batch, frames) bool, true where valid.
            tokens: e_t, (batch, tokens, d).
            token_mask: (batch, tokens) bool, true where valid.

        Returns:
            (batch, speech size + d).
        """
        tokens = self.attended(tokens, token_mask)
        multimodal = tokens
        if self.block_c is not None and self.speech_to_queries is not None:
            text_aware_frames = self.speech_to_queries(frames)
            if self.block_b is not None:
                text_aware_frames = self.block_b(text_aware_frames, tokens, token_mask)
            multimodal = self.block_c(tokens, text_aware_frames, frame_mask)
        if self.block_d is not None and self.speech_to_keys is not None:
            word_aware_speech = self.block_d(tokens, self.speech_to_keys(frames), frame_mask)
            both = torch.cat([multimodal, word_aware_speech], dim=-1)
            if self.gate is not None:
                gated = torch.sigmoid(self.gate(both)) * word_aware_speech
                both = torch.cat([multimodal, gated], dim=-1)
            multimodal = both
        return torch.cat(
            [masked_max(frames, frame_mask), self.down_projection(masked_max(multimodal, token_mask))], dim=-1
        )

    def attended(self, tokens: Tensor, token_mask: Tensor) -> Tensor:
        """T of e_t, both (batch, tokens, d)."""
        tokens = self.dropout(tokens)
        if self.text_self_attention is None:
            return tokens
        return self.text_self_attention(tokens, tokens, token_mask)
