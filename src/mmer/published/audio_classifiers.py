"""Audio classifiers of transformers.

`transformers.pipeline` gives a clip another answer when it shares a batch with longer ones. Here a clip has one
answer: encoders that `SpeechEncoder` makes independent of padding answer a padded batch, the others answer clips of
equal length together, and those with a window of fixed length pad every clip to it.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmer.errors import CheckpointError
from mmer.features.preprocessor import Preprocessor
from mmer.model.encoders.convolutions import receptive_field
from mmer.model.encoders.speech import SpeechEncoder
from mmer.published.kinds import PADDED, architecture
from mmer.published.last_layer import take_last_layer, write_with_last_layer
from mmer.published.transformers_files import (
    CONFIG,
    asked_by_length,
    class_logits,
    load_weights,
    network_config,
    read_extractor,
    read_labels,
    transformers_class,
)

LONGEST = 30.0
"""Seconds; longest clip for encoders that state no limit, whose attention takes memory with the square of it."""
_LOG_MEL = 880
"""Samples of the four frames that w2v-BERT needs."""
_STEP, _FRAME = 0.010, 0.025
"""Seconds of a step and of a frame of the spectrogram transformer."""


def read_processor(folder: Path) -> Preprocessor:
    """Read what a folder says about sound and labels.

    Raises:
        CheckpointError: a file is missing or damaged, or the labels have no names.
    """
    labels, name = read_labels(folder), architecture(folder)
    heard: dict[str, Any] = {"labels": labels, "uses_text": False}
    if name == "WhisperForAudioClassification":
        extractor = read_extractor(folder, "WhisperFeatureExtractor")
        config = network_config(folder)
        _check_window(folder, extractor.nb_max_frames, 2 * config.max_source_positions, "frames")
        _check_window(folder, extractor.feature_size, config.num_mel_bins, "mel bins")
        return WhisperPreprocessor(extractor, None, max_duration=float(extractor.chunk_length), **heard)
    if name == "ASTForAudioClassification":
        extractor = read_extractor(folder, "ASTFeatureExtractor")
        config = network_config(folder)
        _check_window(folder, extractor.max_length, config.max_length, "frames")
        _check_window(folder, extractor.num_mel_bins, config.num_mel_bins, "mel bins")
        window = (extractor.max_length - 1) * _STEP + _FRAME
        return Preprocessor(extractor, None, max_duration=window, **heard)
    if name == "Wav2Vec2BertForSequenceClassification":
        extractor = read_extractor(folder, "SeamlessM4TFeatureExtractor")
        return Preprocessor(extractor, None, minimum_samples=_LOG_MEL, max_duration=LONGEST, **heard)
    extractor = read_extractor(folder, "Wav2Vec2FeatureExtractor")
    shortest = _shortest(network_config(folder))
    return Preprocessor(extractor, None, minimum_samples=shortest, max_duration=LONGEST, **heard)


def load_network(folder: Path) -> nn.Module:
    """Load the network, with all of its weights.

    Raises:
        CheckpointError: weights are missing, damaged or of another model.
    """
    model = load_weights(folder, transformers_class(folder))
    if architecture(folder) in PADDED and not getattr(model.config, "use_weighted_layer_sum", False):
        return PaddedClassifier(model)
    return EqualLengthClassifier(model)


def write(
    folder: Path, layer: nn.Linear, labels: Sequence[str], weights: Mapping[str, Tensor], out: Path
) -> None:
    """Write a model with new weights; see `mmer.published.checkpoints.Reader`."""
    model = load_weights(folder, transformers_class(folder))
    write_with_last_layer(folder, model, layer, labels, weights, out)


def mean_over_frames(hidden: Tensor, frame_mask: Tensor) -> Tensor:
    """Average (batch, frames, size) over the frames where (batch, frames) bool is true, to (batch, size)."""
    return hidden.masked_fill(~frame_mask[:, :, None], 0.0).sum(dim=1) / frame_mask.sum(dim=1)[:, None]


class PaddedClassifier(nn.Module):
    """A classifier that answers a padded batch: the mean of projected frames, and a linear layer.

    Args:
        model: of transformers, changed in place.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.output = model, model.classifier
        self.encoder = SpeechEncoder(model.base_model, train="frozen", freeze_feature_extractor=True)

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits, (batch, labels), and embeddings, (batch, size), of a batch of `Preprocessor.collate`."""
        sound, mask = _sound(inputs)
        hidden, frame_mask = self.encoder(inputs[sound], mask)
        pooled = mean_over_frames(self.model.projector(hidden), frame_mask)
        return class_logits(self.model, self.output(pooled)), pooled


class EqualLengthClassifier(nn.Module):
    """A classifier of which clips of equal length are asked together, so that nothing is padded.

    Args:
        model: of transformers, changed in place.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.output = take_last_layer(model)
        self.model = model

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits, (batch, labels), and embeddings, (batch, size), of a batch of `Preprocessor.collate`."""
        sound, mask = _sound(inputs)
        embeddings = asked_by_length(
            lambda rows, length: self.model(**{sound: inputs[sound][rows, :length]}).logits, mask
        )
        return class_logits(self.model, self.output(embeddings)), embeddings


class WhisperPreprocessor(Preprocessor):
    """Gives the spectrogram of the whole window of Whisper, which completes a clip with silence."""

    def features(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute (bins, frames) of a clip of at most `max_duration` seconds."""
        # The extractor computes with torch, and numpy has no bfloat16.
        with torch.autocast("cpu", enabled=False):
            extracted = self.feature_extractor(
                waveform, sampling_rate=self.sampling_rate, return_tensors="np"
            )
        return extracted["input_features"][0].astype(np.float32)


def _check_window(folder: Path, made: int, read: int, what: str) -> None:
    """Refuse a feature extractor whose spectrograms the network cannot read.

    Raises:
        CheckpointError: they have another size.
    """
    if made != read:
        raise CheckpointError(
            f"model folder {folder}: its feature extractor makes spectrograms of {made} {what}, and {CONFIG} says that "
            f"the network reads {read}; they are not of the same model"
        )


def _sound(inputs: Mapping[str, Tensor]) -> tuple[str, Tensor]:
    """Return the name of the sound in a batch, and its mask, (batch, samples or frames)."""
    return "input_features" if "input_features" in inputs else "input_values", inputs["speech_attention_mask"]


def _shortest(config: Any) -> int:
    """Count the samples of the shortest clip: those of one frame, or of all that SEW joins into one."""
    joined = getattr(config, "squeeze_factor", 1)
    return receptive_field(config) + (joined - 1) * math.prod(config.conv_stride)
