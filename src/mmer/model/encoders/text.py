"""Any `transformers` text encoder: the tokens e_t of the paper."""

import inspect
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from mmer.errors import EncoderError
from mmer.model.encoders.trainable import choose_trainable, learns
from mmer.objectives.gradient_cache import Kept


def check_text_config(config: PreTrainedConfig) -> None:
    """Find out whether a configuration is of a model that reads tokens.

    Raises:
        EncoderError: it is not.
    """
    model_class = _model_class(config)
    if model_class is None or model_class.main_input_name != "input_ids":
        raise EncoderError(
            f"a model of type '{config.model_type}' is no text encoder; give one that reads tokens, as roberta-base"
        )


def encoder_part(model: Any) -> Any:
    """A model, or its encoder if it has a decoder too, such as T5 or BART."""
    return model.get_encoder() if model.config.is_encoder_decoder else model


def without_pooler(config: PreTrainedConfig) -> dict[str, bool]:
    """The argument that leaves out the unused sentence pooler of encoders that have one."""
    parameters = inspect.signature(_model_class(config)).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in parameters else {}


def _model_class(config: PreTrainedConfig) -> Any:
    """The class that `AutoModel` makes; None if there is none."""
    found = MODEL_MAPPING.get(type(config), None)
    return found[0] if isinstance(found, tuple | list) else found


class TextEncoder(nn.Module):
    """Last hidden states of a text encoder, or of the encoder of an encoder-decoder, special tokens kept.

    Raises:
        EncoderError: it reads no tokens, or `train` does not suit it; see `choose_trainable`.
    """

    def __init__(self, config: PreTrainedConfig, *, train: str) -> None:
        super().__init__()
        check_text_config(config)
        model = AutoModel.from_config(config, trust_remote_code=False, **without_pooler(config))
        self.model: Any = encoder_part(model)
        self.model.config.use_cache = False  # nothing is generated
        self.trained = train
        choose_trainable(self.model, train, "text")

    def train(self, mode: bool = True) -> "TextEncoder":
        """A frozen encoder stays in evaluation mode, so that its features are those computed beforehand."""
        return super().train(mode and self.trained != "frozen")

    @property
    def embeddings(self) -> nn.Module:
        """Makes (batch, tokens, width) of token numbers (batch, tokens); see `takes_embeddings`."""
        return self.model.get_input_embeddings()

    @property
    def takes_embeddings(self) -> bool:
        """Whether `forward` reads what `embeddings` makes; CLIP, for one, reads token numbers alone."""
        return "inputs_embeds" in inspect.signature(type(self.model).forward).parameters

    def forward(self, inputs: Tensor, attention_mask: Tensor, kept: Kept | None = None) -> Tensor:
        """Encode a batch.

        Args:
            inputs: (batch, tokens) token numbers, or (batch, tokens, width) of `embeddings`; padded on the right.
            attention_mask: (batch, tokens), 1 where valid.
            kept: keeps, or gives back, the output of an encoder that does not learn.

        Returns:
            (batch, tokens, d).
        """
        if kept is not None and not learns(self):
            return kept(self._encode, inputs, attention_mask)
        return self._encode(inputs, attention_mask)

    def _encode(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        name = "inputs_embeds" if inputs.is_floating_point() else "input_ids"
        return self.model(**{name: inputs}, attention_mask=attention_mask).last_hidden_state
