"""Any `transformers` text encoder: the tokens e_t of the paper."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from mmer.model.trainable import choose_trainable


def without_pooler(config: PreTrainedConfig) -> dict[str, bool]:
    """The argument that leaves out the unused sentence pooler of encoders that have one."""
    model_class = MODEL_MAPPING[type(config)]
    has_pooler = "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
    return {"add_pooling_layer": False} if has_pooler else {}


class TextEncoder(nn.Module):
    """Last hidden states of a text encoder, special tokens kept.

    Raises:
        EncoderError: `train` does not suit the encoder; see `choose_trainable`.
    """

    def __init__(self, config: PreTrainedConfig, *, train: str) -> None:
        super().__init__()
        self.model: Any = AutoModel.from_config(config, **without_pooler(config))
        self.model.config.use_cache = False  # nothing is generated
        self.trained = train
        choose_trainable(self.model, train, "text")

    def train(self, mode: bool = True) -> "TextEncoder":
        """A frozen encoder stays in evaluation mode, so that its features are those computed beforehand."""
        return super().train(mode and self.trained != "frozen")

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode token ids (batch, tokens) with their mask of the same shape into (batch, tokens, d)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trained != "frozen"):
            return self.model(input_ids, attention_mask=attention_mask).last_hidden_state
