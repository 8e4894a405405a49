"""The multimodal dynamic fusion network (section 2.2 and figure 1 of the paper), and the baselines without it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmer.model.configuration import MMERConfig
from mmer.model.pooling import Pooling


class CrossModalEncoder(nn.Module):
    """A cross-modal encoder of section 2.2: a post-norm transformer layer over two sequences.

    For queries X, (batch, X positions, d), and keys Y, (batch, Y positions, d), with h heads of size d / h:

        H = LayerNorm(X + dropout(Wo attention(Wq X, Wk Y, Wv Y)))
        output = LayerNorm(H + dropout(W' gelu(W H)))             (batch, X positions, d)

    With X = Y it is a BERT layer.
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
        """Attend from one sequence to another.

        Args:
            queries: X, (batch, query positions, d).
            keys: Y, (batch, key positions, d), from which keys and values are computed.
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
        """Reshape (batch, positions, d) to (batch, heads, positions, d / heads)."""
        return sequence.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class MultimodalDynamicFusion(nn.Module):
    """The multimodal dynamic fusion network (section 2.2, figure 1): three cross-modal encoders and an acoustic gate.

    With A the J speech frames, (batch, J, speech size), and e_t the M tokens of the text encoder, (batch, M, d):

        T = self-attention layer over dropout(e_t)                       (batch, M, d)
        P = B(W2 A, T)    text-aware speech frames             block B   (batch, J, d)
        R = C(T, P)       speech-aware word representations    block C   (batch, M, d)
        Q = D(T, W1 A)    word-aware speech representations    block D   (batch, M, d)
        g = sigmoid(Wg [R; Q] + bg)    acoustic gate           block E   (batch, M, d)
        M = [R; g * Q]                                                   (batch, M, 2d)
        fused = [max over frames of A ; Wdown (max over tokens of M)]    (batch, speech size + d)

    With `config.pooling: attentive-statistics`, both poolings give twice as many numbers, and fused has
    2 * speech size + d.

    Each block is a `CrossModalEncoder(queries, keys)`. The paper writes M for the number of tokens and for the last
    sequence; the code calls the sequence `multimodal`.

    `config.ablate` removes blocks, and with them what only they need:

        text_self_attention    T = dropout(e_t)
        block_b                P = W2 A
        block_c                R = T; nothing uses P, so B goes too
        block_d                M = R; there is nothing to gate, so the gate goes too
        gate                   M = [R; Q]
    """

    def __init__(self, config: MMERConfig) -> None:
        super().__init__()
        size = config.hidden_size
        assert size is not None
        speech_size = config.speech_size
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
        self.speech_pooling = Pooling(config.pooling, speech_size)
        self.pooling = Pooling(config.pooling, 2 * size if has_d else size)
        self.down_projection = nn.Linear(self.pooling.output_size, size)
        self.output_size = self.speech_pooling.output_size + size

    def forward(self, frames: Tensor, frame_mask: Tensor, tokens: Tensor, token_mask: Tensor) -> Tensor:
        """Compute the fused embedding of a batch; names of variables are those of the class docstring.

        Args:
            frames: A, (batch, frames, speech size).
            frame_mask: (batch, frames) bool, true where valid.
            tokens: e_t, (batch, tokens, d).
            token_mask: (batch, tokens) bool, true where valid.

        Returns:
            fused, (batch, `output_size`).
        """
        t = self.attended(tokens, token_mask)
        r = t
        if self.block_c is not None and self.speech_to_queries is not None:
            p = self.speech_to_queries(frames)  # W2 A
            if self.block_b is not None:
                p = self.block_b(p, t, token_mask)
            r = self.block_c(t, p, frame_mask)
        multimodal = r  # M of the paper
        if self.block_d is not None and self.speech_to_keys is not None:
            q = self.block_d(t, self.speech_to_keys(frames), frame_mask)  # D(T, W1 A)
            if self.gate is not None:
                g = torch.sigmoid(self.gate(torch.cat([r, q], dim=-1)))
                q = g * q
            multimodal = torch.cat([r, q], dim=-1)
        pooled = self.pooling(multimodal, token_mask)
        return torch.cat([self.speech_pooling(frames, frame_mask), self.down_projection(pooled)], dim=-1)

    def attended(self, tokens: Tensor, token_mask: Tensor) -> Tensor:
        """Compute T from e_t.

        Args:
            tokens: e_t, (batch, tokens, d).
            token_mask: (batch, tokens) bool, true where valid.

        Returns:
            T, (batch, tokens, d).
        """
        tokens = self.dropout(tokens)
        if self.text_self_attention is None:
            return tokens
        return self.text_self_attention(tokens, tokens, token_mask)


class SpeechPooling(nn.Module):
    """The baseline with speech only: A pooled over the frames."""

    def __init__(self, config: MMERConfig) -> None:
        super().__init__()
        self.pooling = Pooling(config.pooling, config.speech_size)
        self.output_size = self.pooling.output_size

    def forward(self, frames: Tensor, frame_mask: Tensor, tokens: None, token_mask: None) -> Tensor:
        """Pool A, (batch, frames, speech size), to (batch, `output_size`); `frame_mask` is (batch, frames) bool."""
        return self.pooling(frames, frame_mask)


class TextPooling(nn.Module):
    """The baseline with text only: e_t pooled over the tokens."""

    def __init__(self, config: MMERConfig) -> None:
        super().__init__()
        assert config.hidden_size is not None
        self.pooling = Pooling(config.pooling, config.hidden_size)
        self.output_size = self.pooling.output_size

    def forward(self, frames: None, frame_mask: None, tokens: Tensor, token_mask: Tensor) -> Tensor:
        """Pool e_t, (batch, tokens, d), to (batch, `output_size`); `token_mask` is (batch, tokens) bool."""
        return self.pooling(tokens, token_mask)


class NaiveFusion(nn.Module):
    """The baseline of naive fusion: both sides pooled and concatenated."""

    def __init__(self, config: MMERConfig) -> None:
        super().__init__()
        self.speech = SpeechPooling(config)
        self.text = TextPooling(config)
        self.output_size = self.speech.output_size + self.text.output_size

    def forward(self, frames: Tensor, frame_mask: Tensor, tokens: Tensor, token_mask: Tensor) -> Tensor:
        """Pool A, (batch, frames, speech size), and e_t, (batch, tokens, d), to (batch, `output_size`)."""
        return torch.cat(
            [self.speech(frames, frame_mask, None, None), self.text(None, None, tokens, token_mask)], dim=-1
        )
