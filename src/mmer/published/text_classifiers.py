"""Text classifiers of transformers, which read the transcript."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import Wav2Vec2FeatureExtractor

from mmer.errors import CheckpointError, EncoderError
from mmer.features.preprocessor import Preprocessor
from mmer.model.encoders.text import hide_notes
from mmer.model.pretrained_encoders import encoder_tokenizer
from mmer.published.kinds import architecture
from mmer.published.transformers_files import (
    asked_by_length,
    class_logits,
    load_classifier,
    network_config,
    read_labels,
    take_output_layer,
    transformers_class,
)

_VOCABULARIES = (
    *("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "spm.model"),
    "tokenizer.model",
)
_UNPADDED = frozenset({"canine", "convbert", "fnet", "mobilebert", "nystromformer", "xlnet", "yoso"})
"""Kinds of networks in which padding changes the answer, whatever the mask says."""


def read_processor(folder: Path) -> Preprocessor:
    """Read what a folder says about words and labels.

    Raises:
        CheckpointError: a file is missing or damaged, or the labels have no names.
    """
    labels = read_labels(folder)
    transformers_class(folder, architecture(folder))
    tokenizer = _tokenizer(folder)
    # Nothing is heard, but every processor has a sampling rate.
    return Preprocessor(Wav2Vec2FeatureExtractor(), tokenizer, labels, uses_speech=False)


def load_network(folder: Path) -> nn.Module:
    """Load the network, with all of its weights.

    Raises:
        CheckpointError: weights are missing, damaged or of another model.
    """
    model = load_classifier(folder, architecture(folder))
    if model.config.pad_token_id is None:
        model.config.pad_token_id = _tokenizer(folder).pad_token_id
    return TextClassifier(model)


class TextClassifier(nn.Module):
    """A classifier of transcripts, which are padded where padding does not change the answer.

    Args:
        model: of transformers, changed in place.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        hide_notes(model)
        self.output = take_output_layer(model)
        self.model = model

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits, (batch, labels), and embeddings, (batch, size), of a batch of `Preprocessor.collate`."""
        ids, mask = inputs["input_ids"], inputs["text_attention_mask"]
        if self.model.config.model_type in _UNPADDED:
            embeddings = asked_by_length(lambda rows, length: self.model(ids[rows, :length]).logits, mask)
        else:
            embeddings = self.model(input_ids=ids, attention_mask=mask).logits
        return class_logits(self.model, self.output(embeddings)), embeddings


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
