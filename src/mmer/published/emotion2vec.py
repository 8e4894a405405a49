"""emotion2vec+ and the other releases of emotion2vec that name emotions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2FeatureExtractor

from mmer.errors import CheckpointError
from mmer.features.preprocessor import Preprocessor
from mmer.files.funasr_folder import TOKENS, WEIGHTS
from mmer.model.encoders.convolutions import receptive_field
from mmer.model.encoders.emotion2vec.network import Emotion2VecModel
from mmer.model.encoders.emotion2vec.release import Release, label_of
from mmer.model.encoders.emotion2vec.weights import HEAD, Head, read_weights, write_weights
from mmer.model.encoders.speech import SpeechEncoder
from mmer.published.audio_classifiers import LONGEST, mean_over_frames
from mmer.published.last_layer import copy_settings

_NO_EMOTIONS = (
    "so it names no emotions; such a release can be the model.speech.encoder of a model to train, and those that "
    "answer emotions are emotion2vec_base_finetuned and emotion2vec_plus_seed, _base and _large"
)


def read_processor(folder: Path) -> Preprocessor:
    """Read what a folder says about sound and emotions. Classes that FunASR never answers are left out.

    Raises:
        CheckpointError: `config.yaml` or `tokens.txt` is missing or damaged.
    """
    release = Release.read(folder)
    labels = [label for label in _classes(release) if label is not None]
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
    shortest = receptive_field(release.config)
    return Preprocessor(
        extractor, None, labels=labels, uses_text=False, minimum_samples=shortest, max_duration=LONGEST
    )


def load_network(folder: Path) -> nn.Module:
    """Load the network, with all of its weights.

    Raises:
        CheckpointError: a file is missing or damaged, the files are not of the same release, or it names no emotions.
    """
    release = Release.read(folder)
    weights, head = read_weights(release)
    if head is None:
        raise CheckpointError(f"{folder / WEIGHTS} has no {HEAD}.weight, {_NO_EMOTIONS}")
    classes = _classes(release)
    if len(classes) != len(head.bias):
        raise CheckpointError(
            f"{folder}: {TOKENS} names {len(classes)} classes, and {HEAD}.weight in {WEIGHTS} has {len(head.bias)}; "
            "they are not of the same release"
        )
    answered = [i for i, label in enumerate(classes) if label is not None]
    return Emotion2VecClassifier(release, weights, Head(head.weight[answered], head.bias[answered]))


def write(
    folder: Path, layer: nn.Linear, labels: Sequence[str], weights: Mapping[str, Tensor], out: Path
) -> None:
    """Write a model with new weights; see `mmer.published.checkpoints.Reader`."""
    check_labels(labels)
    copy_settings(folder, out)
    (out / TOKENS).write_text("\n".join(labels), encoding="utf-8", newline="\n")
    head = Head(layer.weight.detach(), layer.bias.detach())
    write_weights(Release.read(folder), head, weights, out)


def check_labels(labels: Sequence[str]) -> None:
    """Check that `tokens.txt` can name labels.

    Raises:
        CheckpointError: it would name another one.
    """
    for label in labels:
        if label_of(label) != label:
            raise CheckpointError(
                f"{TOKENS} of emotion2vec cannot name a label {label!r}, which it would read in another way; rename "
                "it in data.label_map"
            )


def _classes(release: Release) -> list[str | None]:
    if not (release.folder / TOKENS).exists():
        raise CheckpointError(f"{release.folder} holds no {TOKENS}, {_NO_EMOTIONS}")
    return release.labels()


class Emotion2VecClassifier(nn.Module):
    """An emotion2vec encoder, the mean over its frames, and a linear layer.

    Args:
        release: whose configuration is changed for use without training.
        weights: of the encoder, by name.
        head: the linear layer.
    """

    def __init__(self, release: Release, weights: Mapping[str, Tensor], head: Head) -> None:
        super().__init__()
        release.config.mask_time_prob = 0.0  # masking has a weight of its own, which serves training
        with torch.device("meta"):
            model = Emotion2VecModel(release.config)
            self.encoder = SpeechEncoder(model, train="frozen", freeze_feature_extractor=True)
            self.model, self.output = model, nn.Linear(release.config.hidden_size, len(head.bias))
        self.model.load_state_dict(weights, assign=True)
        self.output.load_state_dict({"weight": head.weight, "bias": head.bias}, assign=True)

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits, (batch, labels), and embeddings, (batch, size), of a batch of `Preprocessor.collate`."""
        frames, frame_mask = self.encoder(inputs["input_values"], inputs["speech_attention_mask"])
        embeddings = mean_over_frames(frames, frame_mask)
        return self.output(embeddings), embeddings
