"""Text classifiers of transformers, which read the transcript."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2FeatureExtractor

from mmer.errors import CheckpointError, EncoderError, reason_of
from mmer.features.preprocessor import Preprocessor
from mmer.model.encoders.text import hide_notes
from mmer.model.pretrained_encoders import encoder_tokenizer
from mmer.published.last_layer import take_last_layer, write_with_last_layer
from mmer.published.transformers_files import (
    asked_by_length,
    class_logits,
    load_weights,
    network_config,
    read_labels,
    transformers_class,
)

_VOCABULARIES = (
    *("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "spm.model"),
    "tokenizer.model",
)
_EXACT = 1e-4
"""Largest change by padding, as a share of the largest number, in a network that ignores it; rounding changes 2e-6."""
_LONG, _SHORT = 8, 5
"""Tokens of the made transcripts. Funnel reads no fewer; CANINE joins four characters, and pads what is left over."""


def read_processor(folder: Path) -> Preprocessor:
    """Read what a folder says about words and labels.

    Raises:
        CheckpointError: a file is missing or damaged, or the labels have no names.
    """
    labels = read_labels(folder)
    transformers_class(folder)  # refuse an unknown one
    tokenizer = _tokenizer(folder)
    # Nothing is heard, but every processor has a sampling rate.
    return Preprocessor(Wav2Vec2FeatureExtractor(), tokenizer, labels, uses_speech=False)


def load_network(folder: Path) -> nn.Module:
    """Load the network, with all of its weights.

    Raises:
        CheckpointError: weights are missing, damaged or of another model, or the network reads no tokens.
    """
    model = load_weights(folder, transformers_class(folder))
    if model.config.pad_token_id is None:
        model.config.pad_token_id = _tokenizer(folder).pad_token_id
    network = TextClassifier(model)
    try:
        network.check_padding()
    except Exception as error:  # whatever a network raises that needs more than tokens
        raise CheckpointError(
            f"model folder {folder}: its network fails on a made transcript ({reason_of(error)}); give a classifier "
            "that needs nothing but tokens"
        ) from error
    return network


def write(
    folder: Path, layer: nn.Linear, labels: Sequence[str], weights: Mapping[str, Tensor], out: Path
) -> None:
    """Write a model with new weights; see `mmer.published.checkpoints.Reader`."""
    model = load_weights(folder, transformers_class(folder))
    write_with_last_layer(folder, model, layer, labels, weights, out)


class TextClassifier(nn.Module):
    """A classifier of transcripts.

    Args:
        model: of transformers, changed in place.

    Attributes:
        padded: whether transcripts of different lengths share a batch; `check_padding` sets it.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        hide_notes(model)
        self.output = take_last_layer(model)
        self.model = model
        self.padded = False

    def check_padding(self) -> None:
        """Find out whether the network ignores padding, as not every kind does that takes a mask."""
        config = self.model.config
        end: Any = getattr(config, "eos_token_id", None)
        said = [number for number in range(_LONG + 2) if number not in (config.pad_token_id, end)][:_LONG]
        ids, mask = torch.tensor([said, said]), torch.ones(2, _LONG, dtype=torch.long)
        mask[1, _SHORT:] = 0
        if config.is_encoder_decoder:  # answers what it reads at the end
            ids[0, -1] = ids[1, _SHORT - 1] = end
        with torch.no_grad():
            together, alone = self._padded(ids, mask)[1], self._by_length(ids[1:], mask[1:])[0]
        self.padded = bool((together - alone).abs().max() <= _EXACT * alone.abs().max())

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits, (batch, labels), and embeddings, (batch, size), of a batch of `Preprocessor.collate`."""
        ask = self._padded if self.padded else self._by_length
        embeddings = ask(inputs["input_ids"], inputs["text_attention_mask"])
        return class_logits(self.model, self.output(embeddings)), embeddings

    def _padded(self, ids: Tensor, mask: Tensor) -> Tensor:
        # Decoders answer what they read before the padding, which a tokenizer may take for another token.
        ids = ids.masked_fill(mask == 0, self.model.config.pad_token_id)
        return self.model(input_ids=ids, attention_mask=mask).logits

    def _by_length(self, ids: Tensor, mask: Tensor) -> Tensor:
        return asked_by_length(lambda rows, length: self.model(ids[rows, :length]).logits, mask)


def _tokenizer(folder: Path) -> Any:
    # Without them, transformers makes a tokenizer that knows no word.
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise CheckpointError(
            f"model folder {folder} is not complete: it holds no tokenizer, which is one of {', '.join(_VOCABULARIES)}"
        )
    try:
        return encoder_tokenizer(str(folder), network_config(folder))
    except EncoderError as error:
        raise CheckpointError(f"model folder {folder} is not complete or damaged: {error}") from error
