"""Files of a classifier that transformers has saved: labels, feature extractor, and weights, all of them."""

import re
import reprlib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoFeatureExtractor

from mmer.display.progress import silent_transformers
from mmer.errors import CheckpointError
from mmer.files.damaged import damaged_file, read_json_object
from mmer.files.model_settings import check_network_numbers, check_sound_numbers
from mmer.model.pretrained_encoders import full_attention
from mmer.model.stored_weights import check_finite, no_larger_than, stored_shapes
from mmer.published.kinds import architecture
from mmer.text.names import tidy

CONFIG = "config.json"
EXTRACTOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
"""Files that say how sound is read; the second one, of newer releases of transformers, has it in a section."""
_WEIGHTS = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""Files that hold or list the weights, in the order in which transformers looks for them."""
_LAYER = re.compile(r"\.\d+\.")
"""Number of a layer in the name of a weight."""
_NOT_USED = re.compile(r"(^|\.)masked_spec_embed$")
"""Weights of training alone."""


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json.

    Raises:
        CheckpointError: it is damaged, has numbers that are too large, or says that the weights are quantized.
    """
    path = folder / CONFIG
    config = read_json_object(path)
    check_network_numbers(path, config)
    if (quantization := config.get("quantization_config")) is not None:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
        raise CheckpointError(
            f"{path} says that the weights are quantized ({reprlib.repr(method)}), and mmer reads float32, float16 and "
            "bfloat16; give the checkpoint that was quantized"
        )
    return config


def read_labels(folder: Path) -> list[str]:
    """Read the labels of a classifier, in the order of its classes.

    Raises:
        CheckpointError: there is only one, one has no name, two have the same name, or the model answers numbers.
    """
    labels, path = read_names(folder), folder / CONFIG
    if read_config(folder).get("problem_type") == "regression":
        raise CheckpointError(
            f"{path} is of a model that answers numbers, not classes; give a classifier of emotions"
        )
    if len(labels) < 2:
        raise CheckpointError(
            f"{path} names a single label, {labels[0]!r}, as of a model that answers a number, not classes; give a "
            "classifier of two emotions or more"
        )
    return labels


def read_names(folder: Path) -> list[str]:
    """Read the names of a model's outputs, in their order.

    Raises:
        CheckpointError: there is none, one is empty, or two are the same.
    """
    path = folder / CONFIG
    config = read_config(folder)
    with damaged_file(path, "number the labels in id2label from 0"):
        named = config.get("id2label")
        if named is None:  # transformers leaves out the names that it gives to two labels
            named = {number: f"LABEL_{number}" for number in range(int(config.get("num_labels", 2)))}
        names = {int(number): "" if name is None else tidy(str(name)) for number, name in named.items()}
        labels = [names[number] for number in range(len(names))]
    if not labels or not all(labels):
        raise CheckpointError(f"{path} has labels without a name; name each in id2label")
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise CheckpointError(
            f"{path} gives two classes the name {min(twice)!r}; give each its own in id2label"
        )
    return labels


def network_config(folder: Path) -> Any:
    """Read config.json as transformers does, defaults included; errors as in `read_names`."""
    names = read_names(folder)
    with damaged_file(folder / CONFIG), silent_transformers():
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        config.num_labels = len(names)  # config.json may state another number beside the names
    return full_attention(config)


def read_extractor(folder: Path, wanted: str) -> Any:
    """Load the feature extractor.

    Args:
        folder: of the model.
        wanted: name of the class that fits the network.

    Raises:
        CheckpointError: there is none, it is damaged, or of another class.
    """
    path, content = folder / EXTRACTOR, None
    if path.is_file():
        content = read_json_object(path)
    elif (folder / PROCESSOR).is_file():
        path = folder / PROCESSOR
        content = read_json_object(path).get("feature_extractor")
    if content is None:
        raise CheckpointError(
            f"model folder {folder} is not complete: it holds no {EXTRACTOR}, which says how sound is read; copy "
            "that of the encoder from which it was trained"
        )
    check_sound_numbers(path, content)
    with damaged_file(path), silent_transformers(), warnings.catch_warnings():
        # Of the mel filters, which are as the model was trained with.
        warnings.simplefilter("ignore", UserWarning)
        extractor = AutoFeatureExtractor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    if (found := type(extractor).__name__) != wanted:
        raise CheckpointError(f"{path} is of a {found}, and the network needs a {wanted}")
    return extractor


def transformers_class(folder: Path) -> Any:
    """Return the class of transformers that the config.json of a folder names.

    Raises:
        CheckpointError: there is no such class.
    """
    name = architecture(folder)
    kind = getattr(transformers, name, None)
    if kind is None:
        raise CheckpointError(
            f"{folder / CONFIG} names the class {name}, which transformers {transformers.__version__} does not have"
        )
    return kind


def load_weights(folder: Path, kind: Any) -> Any:
    """Load a model with all of its weights, in float32; code that comes along is not run.

    Args:
        folder: of the model.
        kind: a class of transformers, or one derived from its classes.

    Returns:
        An instance of that class.

    Raises:
        CheckpointError: there are no weights, they are damaged, do not fit config.json or are not finite, or some are
            missing, as those of a head that would stay random.
    """
    weights = next((folder / file for file in _WEIGHTS if (folder / file).is_file()), None)
    if weights is None:
        raise CheckpointError(
            f"model folder {folder} is not complete: it holds no {' or '.join(_WEIGHTS[::2])}"
        )
    shapes = _shapes(weights)
    # A network that cannot be built is as often the fault of config.json.
    with damaged_file(folder), silent_transformers(), no_larger_than(shapes, weights):
        model, report = kind.from_pretrained(
            folder,
            config=network_config(folder),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported, and refused below
            local_files_only=True,
            dtype=torch.float32,
        )
    _check_report(weights, report, model)
    check_finite(model, weights)
    return model


def _check_report(weights: Path, report: Mapping[str, Any], model: Any) -> None:
    """Refuse a checkpoint that leaves weights of the network random, or that has more layers.

    Args:
        weights: the file.
        report: of transformers, about loading it.
        model: the network as config.json describes it.

    Raises:
        CheckpointError: it does; the message names weights.
    """
    labels = model.config.num_labels
    if mismatched := sorted(
        (key, tuple(found), tuple(wanted)) for key, found, wanted in report["mismatched_keys"]
    ):
        key, found, wanted = mismatched[0]
        if all(wanted[:1] == (labels,) and found[1:] == wanted[1:] for _, found, wanted in mismatched):
            raise CheckpointError(
                f"{weights} has {found[0]} classes, and {CONFIG} beside it names {labels}; name each in id2label, in "
                "the order that the authors of the model state"
            )
        raise CheckpointError(
            f"{weights}: {key} has the shape {found}, where {CONFIG} wants {wanted}; they are not of the same model"
        )
    missing = sorted(key for key in report["missing_keys"] if not _NOT_USED.search(key))
    if missing:
        unknown = sorted(report["unexpected_keys"])
        beside = f", while it holds {_some(unknown)}, which the network does not have" if unknown else ""
        raise CheckpointError(
            f"{weights} lacks {_some(missing)}{beside}; they would stay random, and so would the answers: give a "
            "complete checkpoint of this class"
        )
    layers = {_LAYER.sub(".", name) for name, _ in model.named_parameters()}
    if more := sorted(key for key in report["unexpected_keys"] if _LAYER.sub(".", key) in layers):
        raise CheckpointError(
            f"{weights} holds {_some(more)}, of layers that {CONFIG} does not describe; they are not of the same model"
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"


def _shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of all weights that a file holds or lists.

    Raises:
        CheckpointError: a file is damaged, or one that is listed is missing.
    """
    if weights.suffix == ".json":
        with damaged_file(weights):
            files = [
                weights.with_name(file) for file in set(read_json_object(weights)["weight_map"].values())
            ]
        if absent := sorted(file.name for file in files if not file.is_file()):
            raise CheckpointError(
                f"model folder {weights.parent} is not complete: it holds no {_some(absent)}, which {weights.name} "
                "lists"
            )
        return {name: shape for file in sorted(files) for name, shape in _shapes(file).items()}
    with damaged_file(weights):
        if weights.suffix == ".safetensors":
            return stored_shapes(weights)
        state = torch.load(weights, map_location="meta", weights_only=True)
        return {name: tuple(tensor.shape) for name, tensor in state.items()}


def asked_by_length(ask: Callable[[Tensor, int], Tensor], mask: Tensor) -> Tensor:
    """Ask a network for clips or transcripts of equal length together, so that nothing is padded.

    Args:
        ask: takes row numbers and the length of these rows; returns what the network gives, (rows, size).
        mask: (batch, positions), 1 where valid.

    Returns:
        What the network gives, (batch, size).
    """
    lengths = mask.sum(dim=1)
    answered, order = [], []
    for length in lengths.unique():
        rows = (lengths == length).nonzero()[:, 0]
        answered.append(ask(rows, int(length)))
        order.append(rows)
    return torch.cat(answered)[torch.cat(order).argsort()]


def class_logits(model: Any, outputs: Tensor) -> Tensor:
    """Return what a softmax turns into the probabilities of the classes.

    Args:
        model: of transformers.
        outputs: (batch, labels). Those of a classifier that may give several labels to one input are taken through the
            logarithm of the sigmoid, so that the softmax divides its scores by their sum.
    """
    several = model.config.problem_type == "multi_label_classification"
    return nn.functional.logsigmoid(outputs) if several else outputs
