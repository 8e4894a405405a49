"""Any `transformers` text encoder, which gives the tokens e_t of section 2.2."""

import inspect
import logging
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from mmer.errors import EncoderError
from mmer.model.encoders.layers import LAST, LayerWeights, chosen_layers
from mmer.model.encoders.trainable import choose_trainable, learns
from mmer.objectives.gradient_cache import Kept


def check_text_config(config: PreTrainedConfig) -> None:
    """Check that a configuration describes a model that reads tokens.

    Raises:
        EncoderError: the model reads something else.
    """
    model_class = _model_class(config)
    if model_class is None or model_class.main_input_name != "input_ids":
        raise EncoderError(
            f"a model of type '{config.model_type}' is no text encoder; give one that reads tokens, as roberta-base"
        )


def hide_notes(model: nn.Module) -> None:
    """Hide what a network of transformers tells about the lengths of its batches, which nobody can act on."""
    logging.getLogger(type(model).__module__).setLevel(logging.ERROR)


def encoder_part(model: Any) -> Any:
    """Return the encoder of an encoder-decoder such as T5 or BART, and any other model unchanged."""
    return model.get_encoder() if model.config.is_encoder_decoder else model


def without_pooler(config: PreTrainedConfig) -> dict[str, bool]:
    """Return the argument that leaves out the unused sentence pooler, for encoders that have one."""
    parameters = inspect.signature(_model_class(config)).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in parameters else {}


def _model_class(config: PreTrainedConfig) -> Any:
    """Return the class that `AutoModel` creates; None if there is none."""
    found = MODEL_MAPPING.get(type(config), None)
    return found[0] if isinstance(found, tuple | list) else found


class TextEncoder(nn.Module):
    """A text encoder, or the encoder of an encoder-decoder, that gives the tokens e_t of section 2.2.

    Args:
        config: of the encoder.
        train: weights that learn: `full`, `frozen`, `lora` or `last:N`.
        layers: hidden states that are read: `last`, `weighted` or their numbers.

    Raises:
        EncoderError: the encoder reads no tokens, or does not allow `train` or `layers`; see `choose_trainable` and
            `chosen_layers`.
    """

    def __init__(self, config: PreTrainedConfig, *, train: str, layers: str | Sequence[int] = LAST) -> None:
        super().__init__()
        check_text_config(config)
        model = AutoModel.from_config(config, trust_remote_code=False, **without_pooler(config))
        self.model: Any = encoder_part(model)
        hide_notes(self.model)
        self.model.config.use_cache = False  # nothing is generated
        self.trained = train
        mixed = chosen_layers(layers, self.model.config.num_hidden_layers, "text")
        self.layer_weights = None if mixed is None else LayerWeights(mixed)
        choose_trainable(self.model, train, "text")

    def train(self, mode: bool = True) -> "TextEncoder":
        """Set the mode; a frozen encoder stays in evaluation mode, so that its features equal stored ones."""
        return super().train(mode and self.trained != "frozen")

    @property
    def embeddings(self) -> nn.Module:
        """The layer that embeds token numbers, (batch, tokens), as (batch, tokens, width); see `takes_embeddings`."""
        return self.model.get_input_embeddings()

    @property
    def takes_embeddings(self) -> bool:
        """Whether `forward` reads what `embeddings` makes; CLIP, for one, reads token numbers alone."""
        return "inputs_embeds" in inspect.signature(type(self.model).forward).parameters

    def forward(self, inputs: Tensor, attention_mask: Tensor, kept: Kept | None = None) -> Tensor:
        """Encode a batch.

        Args:
            inputs: (batch, tokens) token numbers, (batch, tokens, width) of `embeddings`, or (batch, tokens, layers, d)
                of `hidden_states`; padded on the right.
            attention_mask: (batch, tokens), 1 where valid.
            kept: stores, or returns, the output of a frozen encoder.

        Returns:
            e_t, (batch, tokens, d), special tokens included: the last hidden states, or the mixed ones.
        """
        if inputs.ndim == 4:
            return inputs[:, :, 0] if self.layer_weights is None else self.layer_weights(inputs)
        if kept is not None and not learns(self.model):
            states = kept(self.hidden_states, inputs, attention_mask)
        else:
            states = self.hidden_states(inputs, attention_mask)
        return states[0] if self.layer_weights is None else self.layer_weights(states)

    def hidden_states(self, inputs: Tensor, attention_mask: Tensor) -> Sequence[Tensor]:
        """Compute the hidden states that are read.

        Args:
            inputs: token numbers or embeddings, as for `forward`.
            attention_mask: as for `forward`.

        Returns:
            The last hidden states, or those of each of `layer_weights.layers`, (batch, tokens, d) each.
        """
        name = "inputs_embeds" if inputs.is_floating_point() else "input_ids"
        mixes = self.layer_weights is not None
        output = self.model(**{name: inputs}, attention_mask=attention_mask, output_hidden_states=mixes)
        if self.layer_weights is None:
            return [output.last_hidden_state]
        return [output.hidden_states[number] for number in self.layer_weights.layers]
