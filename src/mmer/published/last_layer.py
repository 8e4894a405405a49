"""The last layer of a classifier, which makes logits of an embedding: take it off, or write another in its place."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mmer.display.progress import silent_transformers
from mmer.errors import CheckpointError

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".index.json")
"""Ends of the names of files with weights, or that list them."""
_OF_THE_MODEL = ("README.md", "trained_on.parquet", "calibration.json", "calibration.png")
"""Files that say how a model was made, or calibrate its last layer."""


def last_layer(model: Any) -> tuple[str, nn.Linear]:
    """Find the last layer of a classifier of transformers.

    Returns:
        Its name in the model, and the layer.

    Raises:
        CheckpointError: there is no such layer.
    """
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == model.config.num_labels
    ]
    if not layers:
        raise CheckpointError(
            f"a {type(model).__name__} has no linear layer as the last one; it is not supported"
        )
    return layers[-1]


def take_last_layer(model: Any) -> nn.Linear:
    """Replace the last layer of a classifier by the identity.

    Args:
        model: of transformers, whose output is then the embedding that this layer would read; changed in place.

    Returns:
        The layer.

    Raises:
        CheckpointError: there is no such layer.
    """
    name, layer = last_layer(model)
    model.set_submodule(name, nn.Identity())
    return layer


def write_with_last_layer(
    folder: Path,
    model: Any,
    layer: nn.Linear,
    labels: Sequence[str],
    weights: Mapping[str, Tensor],
    out: Path,
) -> None:
    """Write a classifier of transformers with another last layer, and copy what else its folder holds.

    Args:
        folder: of the model.
        model: of transformers, with its weights; changed in place.
        layer: the new one; it has a bias where the old one has.
        labels: of its outputs, in order.
        weights: other weights that are new, by name.
        out: an empty folder.
    """
    copy_settings(folder, out)
    unknown = model.load_state_dict(weights, strict=False).unexpected_keys
    assert not unknown, unknown
    model.set_submodule(last_layer(model)[0], layer)
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: number for number, label in enumerate(labels)}
    model.config.problem_type = "single_label_classification"
    with silent_transformers():
        model.save_pretrained(out)


def copy_settings(folder: Path, out: Path) -> None:
    """Copy the files of a model that hold no weights, except those that say how it was made."""
    for file in sorted(folder.iterdir()):
        hidden = file.name.startswith(".")
        if file.is_file() and not hidden and not file.name.endswith((*_WEIGHTS, *_OF_THE_MODEL)):
            shutil.copyfile(file, out / file.name)
