"""wav2vec 2.0 with the head of two layers that several authors call `Wav2Vec2ForSpeechClassification`.

transformers has no such class: the mean over frames, `classifier.dense`, tanh, and `classifier.out_proj`. audEERING's
model of arousal, dominance and valence has this layout, and so have classifiers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Model, Wav2Vec2PreTrainedModel

from mmer.errors import CheckpointError
from mmer.features.preprocessor import Preprocessor
from mmer.model.encoders.convolutions import receptive_field
from mmer.model.encoders.speech import SpeechEncoder
from mmer.published.audio_classifiers import LONGEST, mean_over_frames
from mmer.published.last_layer import write_with_last_layer
from mmer.published.transformers_files import (
    CONFIG,
    load_weights,
    network_config,
    read_config,
    read_extractor,
    read_names,
)

DIMENSIONS = frozenset({"arousal", "dominance", "valence"})
"""Names of outputs that are numbers from 0 to 1, not classes."""


def read_processor(folder: Path) -> Preprocessor:
    """Read what a folder says about sound, and about classes or dimensions.

    Raises:
        CheckpointError: a file is missing or damaged, or frames are pooled in another way than by their mean.
    """
    config, names = read_config(folder), read_names(folder)
    pooling = config.get("pooling_mode", "mean")
    if pooling != "mean":
        raise CheckpointError(f"{folder / CONFIG}: pooling_mode is {pooling!r}, and only mean is supported")
    extractor = read_extractor(folder, "Wav2Vec2FeatureExtractor")
    shortest = receptive_field(network_config(folder))
    processor = Preprocessor(
        extractor, None, names, minimum_samples=shortest, max_duration=LONGEST, uses_text=False
    )
    if DIMENSIONS.issuperset(names):
        processor.labels, processor.dimensions = [], names
    return processor


def load_network(folder: Path) -> nn.Module:
    """Load the network, with all of its weights.

    Raises:
        CheckpointError: weights are missing, damaged or of another model.
    """
    return SpeechHeadNetwork(load_weights(folder, Wav2Vec2ForSpeechClassification))


def write(
    folder: Path, layer: nn.Linear, labels: Sequence[str], weights: Mapping[str, Tensor], out: Path
) -> None:
    """Write a model with new weights; see `mmer.published.checkpoints.Reader`."""
    model = load_weights(folder, Wav2Vec2ForSpeechClassification)
    write_with_last_layer(folder, model, layer, labels, weights, out)


class Wav2Vec2ForSpeechClassification(Wav2Vec2PreTrainedModel):
    """The weights of a checkpoint, by their names; `SpeechHeadNetwork` computes with them."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.wav2vec2 = Wav2Vec2Model(config)
        self.classifier = nn.Module()
        self.classifier.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.classifier.out_proj = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()


class SpeechHeadNetwork(nn.Module):
    """Answers padded batches: the mean over valid frames, a layer, tanh, and the layer of the outputs.

    Args:
        model: with its weights, changed in place.
    """

    def __init__(self, model: Wav2Vec2ForSpeechClassification) -> None:
        super().__init__()
        self.model = model
        self.encoder = SpeechEncoder(model.wav2vec2, train="frozen", freeze_feature_extractor=True)
        classifier: Any = model.classifier
        self.dense, self.output = classifier.dense, classifier.out_proj

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return outputs, (batch, outputs), and embeddings, (batch, size), of a batch of `Preprocessor.collate`."""
        hidden, frame_mask = self.encoder(inputs["input_values"], inputs["speech_attention_mask"])
        embeddings = torch.tanh(self.dense(mean_over_frames(hidden, frame_mask)))
        return self.output(embeddings), embeddings
