"""WavLM's attention, computed by the kernels of PyTorch that other encoders use.

`transformers` also computes the weights of attention, which nobody reads. It hands PyTorch a mask of truth values and a
bias of numbers together, of which PyTorch warns. And it reads the weights of linear layers without calling the layers,
where low-rank weights (LoRA) would have no effect.
"""

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.wavlm.modeling_wavlm import WavLMAttention


def use_attention_kernels(layers: nn.ModuleList) -> None:
    """Make the layers of a WavLM encoder attend by `attend`."""
    for layer in layers:
        attention = layer.attention
        assert isinstance(attention, WavLMAttention)
        attention.torch_multi_head_self_attention = MethodType(attend, attention)


def attend(
    self: WavLMAttention, hidden_states: Tensor, attention_mask: Tensor | None, gated_position_bias: Tensor
) -> tuple[Tensor, None]:
    """Compute what `WavLMAttention.torch_multi_head_self_attention` computes, without the weights.

    Args:
        hidden_states: (batch, frames, size).
        attention_mask: (batch, frames), 1 or true where valid; None if all frames are.
        gated_position_bias: (batch * heads, frames, frames), what is added to the scores.

    Returns:
        (batch, frames, size), and no weights.
    """
    batch, frames, size = hidden_states.shape

    def heads(linear: nn.Module) -> Tensor:
        return linear(hidden_states).view(batch, frames, self.num_heads, -1).transpose(1, 2)

    query, key, value = heads(self.q_proj), heads(self.k_proj), heads(self.v_proj)
    bias = gated_position_bias.view(batch, self.num_heads, frames, frames).to(query.dtype)
    if attention_mask is not None:
        bias = bias.masked_fill(~attention_mask.bool()[:, None, None, :], torch.finfo(bias.dtype).min)
    dropout = self.dropout if self.training else 0.0
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
    return self.out_proj(attended.transpose(1, 2).reshape(batch, frames, size)), None


def position_bias(layers: nn.ModuleList, hidden_states: Tensor) -> Tensor:
    """Compute the bias by the distance of two frames, which the first layer makes and hands on to the others.

    Args:
        layers: of the encoder.
        hidden_states: (batch, frames, size).

    Returns:
        (batch * heads, frames, frames).
    """
    batch, frames, _ = hidden_states.shape
    attention: Any = layers[0].attention
    return attention.compute_bias(frames, frames).repeat(batch, 1, 1)
