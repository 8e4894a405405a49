"""Read a published model: first what it says about sound and labels, then its network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from mmer.errors import CheckpointError, MMERError
from mmer.features.preprocessor import Preprocessor
from mmer.files.damaged import check_no_pointer
from mmer.files.model_settings import check_settings_files
from mmer.published import audio_classifiers, emotion2vec, speech_head, text_classifiers
from mmer.published.kinds import Kind, published_kind


class Reader(Protocol):
    """Module that reads one kind of published model.

    A network is a module of PyTorch. It takes a batch of `Preprocessor.collate` as one mapping. It returns logits,
    (batch, labels), or dimensions, (batch, dimensions); and embeddings, (batch, size), which its last layer, `output`,
    makes logits of. A row has the same answer in every batch. Its `model` is the network of transformers within, or one
    of ours like it.
    """

    def read_processor(self, folder: Path) -> Preprocessor:
        """Read what a folder says about sound, words and labels, without its weights."""
        ...

    def load_network(self, folder: Path) -> nn.Module:
        """Load the network with all of its weights."""
        ...

    def write(
        self, folder: Path, layer: nn.Linear, labels: Sequence[str], weights: Mapping[str, Tensor], out: Path
    ) -> None:
        """Write the model of a folder with new weights; see `write_published`."""
        ...


READERS: Mapping[Kind, Reader] = {
    "audio": audio_classifiers,
    "emotion2vec": emotion2vec,
    "speech head": speech_head,
    "text": text_classifiers,
}


def read_published_processor(folder: Path) -> Preprocessor:
    """Read the processor of a published model.

    Args:
        folder: one of which `published_kind` knows the kind.

    Raises:
        CheckpointError: a file is missing, damaged or too large, or the labels have no names.
    """
    _check_files(folder)
    try:
        return _reader(folder).read_processor(folder)
    except CheckpointError:
        raise
    except MMERError as error:
        raise CheckpointError(f"model folder {folder}: {error}") from error


def load_published_network(folder: Path) -> nn.Module:
    """Load the network of a published model; see `Reader`.

    Args:
        folder: one of which `published_kind` knows the kind.

    Raises:
        CheckpointError: a file is missing or damaged, or the checkpoint lacks weights that the network has.
    """
    _check_files(folder)
    return _reader(folder).load_network(folder)


def check_labels(folder: Path, labels: Sequence[str]) -> None:
    """Check that the format of a published model can name labels.

    Args:
        folder: one of which `published_kind` knows the kind.
        labels: of another last layer.

    Raises:
        CheckpointError: it cannot name one.
    """
    if published_kind(folder) == "emotion2vec":
        emotion2vec.check_labels(labels)


def write_published(
    folder: Path, layer: nn.Linear, labels: Sequence[str], weights: Mapping[str, Tensor], out: Path
) -> None:
    """Write a published model with another last layer and other weights of its transformer layers.

    Args:
        folder: one of which `published_kind` knows the kind.
        layer: reads the embeddings of its network; it has a bias where the old one has.
        labels: of its outputs, in order.
        weights: of its transformer layers that are new, by name in the `model` of its network.
        out: an empty folder, which is then one of the same kind.

    Raises:
        CheckpointError: a file is missing or damaged, or the format cannot name a label.
    """
    _reader(folder).write(folder, layer, labels, weights, out)


def _reader(folder: Path) -> Reader:
    kind = published_kind(folder)
    assert kind is not None
    return READERS[kind]


def _check_files(folder: Path) -> None:
    check_settings_files(folder)
    for path in folder.iterdir():
        check_no_pointer(path)
    if (folder / "adapter_config.json").exists():  # transformers would load the weights that it names
        raise CheckpointError(
            f"model folder {folder} holds adapter_config.json, an adapter to other weights; merge it into them with "
            "merge_and_unload of peft, and give the folder that is saved then"
        )
