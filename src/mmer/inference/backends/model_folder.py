"""Model folders as training and `save_pretrained` write them."""

import hashlib
import os
import re
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmer.display.progress import silent_transformers
from mmer.errors import CheckpointError, MMERError
from mmer.extras import import_extra
from mmer.features.model_files import PROCESSOR, read_preprocessor
from mmer.features.preprocessor import Preprocessor
from mmer.files.damaged import LARGEST_JSON, check_no_pointer, damaged_file, read_json_object
from mmer.files.regular import refuse_special
from mmer.inference.backends.network import CONFIG, WEIGHTS, Network
from mmer.inference.backends.onnx_network import MODEL, read_onnx_network

if TYPE_CHECKING:
    import torch


MANIFEST = "manifest.json"
"""Of a bundle."""
CARD = "README.md"
"""The model card."""
ADAPTER = "adapter_config.json"
MODEL_TYPE = "mmer"
"""That of `MMERConfig`, which is not imported here because transformers takes seconds to import."""
_SETTINGS = {".jinja", ".json", ".model", ".txt"}
_LARGEST = 2**31
_LARGEST_BY_NAME = {
    re.compile(r"layers|labels|blocks|heads|experts"): 10_000,
    re.compile(r"position"): 2**21,
}
"""Of the numbers in a config.json, by name: what transformers makes lists and tables of before it has seen weights."""
_LARGEST_OF_SOUND = {re.compile(r"sampling_rate"): 768_000, re.compile(""): 100_000}
"""Of the numbers that describe how sound is read."""


def read_model_folder(
    folder: Path, device: "str | torch.device | None" = None
) -> tuple[Network, Preprocessor]:
    """Load a model and its processor.

    Code that a folder brings along is not run.

    Args:
        folder: with `config.json`, `model.safetensors` or `model.onnx`, `processor_config.json` and the tokenizer's
            files.
        device: see `EmotionRecognizer`.

    Raises:
        CheckpointError: it is no model folder, a file is missing or damaged, weights are missing, or a file describes
            another model than the others.
        MMERError: there is no such device.
        MissingExtraError: PyTorch, or onnxruntime for an exported model, is not installed.
    """
    processor = read_processor(folder)
    if (folder / MODEL).is_file():
        shortest = 1 if processor.reads_features else processor.minimum_samples
        return read_onnx_network(folder, shortest, device), processor
    import_extra("torch", f"model folder {folder}")
    from mmer.inference.backends.torch_network import read_torch_network

    return read_torch_network(folder, device), processor


def read_processor(folder: Path) -> Preprocessor:
    """Load the processor of a model folder, without the model.

    Raises:
        CheckpointError: as for `read_model_folder`.
    """
    config = check_model_folder(folder)
    try:
        # Other folders hold a network of PyTorch, which needs transformers anyway.
        exported = read_preprocessor(folder) if (folder / MODEL).is_file() else None
        processor = exported or _processor_of_transformers(folder)
    except MMERError as error:
        raise CheckpointError(f"{folder / PROCESSOR}: {error}") from error
    except BaseException as error:  # see `damaged_file`
        # Only now is it worth the time to find out which file is at fault.
        _check_files(folder)
        with damaged_file(folder / PROCESSOR):
            raise error
    if processor.uses_text:
        with damaged_file(folder / "tokenizer_config.json"):
            try:
                processor.tokenize(["a", None], "np")
            except MMERError as error:
                raise ValueError(error) from error
    if "id2label" not in config:  # of two emotions with the names that transformers gives
        return processor
    with damaged_file(folder / CONFIG):
        names = {int(number): name for number, name in config["id2label"].items()}
        labels = [names[number] for number in range(len(names))]
    if labels != processor.labels:
        found, known = (reprlib.repr(names).strip("[]") for names in (labels, processor.labels))
        raise CheckpointError(
            f"model folder {folder}: {CONFIG} knows the emotions {found}, and {PROCESSOR} {known}; they are not of the "
            "same model"
        )
    return processor


def _processor_of_transformers(folder: Path) -> Preprocessor:
    # Imported here, since an exported model answers before transformers is imported.
    from mmer.model.processor import MMERProcessor

    with silent_transformers():
        return MMERProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _check_files(folder: Path) -> None:
    """Name the file at fault where transformers cannot read a folder.

    Raises:
        CheckpointError: a file is damaged.
    """
    from transformers import AutoTokenizer

    from mmer.model.configuration import MMERConfig

    with silent_transformers():
        for file in sorted(folder.iterdir()):
            check_no_pointer(file)
        with damaged_file(folder / CONFIG):
            MMERConfig.from_pretrained(folder, local_files_only=True)
        with damaged_file(folder / "tokenizer.json"):
            AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def check_model_folder(folder: Path) -> dict[str, Any]:
    """Check whether a folder holds a model, without building any of it.

    Returns:
        Contents of `config.json`.

    Raises:
        CheckpointError: as for `read_model_folder`.
    """
    if not folder.is_dir():
        raise CheckpointError(f"no model folder at {folder}; give the folder that training wrote, RUN/model")
    if not (folder / CONFIG).is_file():
        inside = folder / "model"
        hint = f"; do you mean {inside}?" if (inside / CONFIG).is_file() else ""
        raise CheckpointError(f"{folder} is not a model folder, it holds no {CONFIG}{hint}")
    network = MODEL if (folder / MODEL).is_file() else WEIGHTS
    for name in (PROCESSOR, network):
        if not (folder / name).is_file():
            raise CheckpointError(f"model folder {folder} is not complete: it holds no {name}")
    if (folder / ADAPTER).exists():  # transformers would load the weights that it names
        raise CheckpointError(
            f"model folder {folder} holds {ADAPTER}, an adapter to other weights; mmer reads complete models, in which "
            "adapters are merged"
        )
    for path in folder.iterdir():
        refuse_special(path, CheckpointError)
        if path.suffix in _SETTINGS and path.is_file() and path.stat().st_size > LARGEST_JSON:
            raise CheckpointError(
                f"{path} has {path.stat().st_size / 1e6:.0f} MB; a file of settings or of a tokenizer has at most "
                f"{LARGEST_JSON // 10**6} MB"
            )
    check_no_pointer(folder / network)
    config = read_json_object(folder / CONFIG)
    model_type = config.get("model_type")
    if model_type != MODEL_TYPE:
        raise CheckpointError(f"{folder} holds a model of type {reprlib.repr(model_type)}, not {MODEL_TYPE}")
    with damaged_file(folder / CONFIG):
        _check_numbers(folder / CONFIG, config, _LARGEST_BY_NAME)
    for name in (PROCESSOR, "preprocessor_config.json"):
        if (folder / name).is_file():
            content = read_json_object(folder / name)
            with damaged_file(folder / name):
                _check_numbers(folder / name, content.get("feature_extractor", content), _LARGEST_OF_SOUND)
    return config


def _check_numbers(path: Path, content: object, largest: dict[re.Pattern[str], int]) -> None:
    """Refuse numbers that would take time or memory without end when something is built of them."""
    for name, value in _whole_numbers(content, ""):
        limit = next((limit for pattern, limit in largest.items() if pattern.search(name)), _LARGEST)
        if abs(value) > limit:
            raise CheckpointError(f"{path}: {name} is {value:.3g}, and at most {limit} is allowed")


def _whole_numbers(content: object, name: str) -> Iterator[tuple[str, int]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _whole_numbers(value, key)
    elif isinstance(content, list):
        for value in content:
            yield from _whole_numbers(value, name)
    elif isinstance(content, int):
        yield name, content


def model_hash(folder: str | os.PathLike[str]) -> str:
    """Identify a model: SHA-256 over the names and contents of a model folder's files, its model card left out.

    Args:
        folder: a model folder; a bundle of it, once unpacked by `mmer.inference.backends.bundle.model_folder`, has the
            same hash.

    Returns:
        64 hexadecimal digits.

    Raises:
        CheckpointError: there is no file to hash.
    """
    files, together = model_files(Path(folder)), hashlib.sha256()
    if not files:
        raise CheckpointError(f"no model folder at {folder}; there is no file to hash")
    for name, file in files.items():
        if name == CARD:  # `write_report` writes it anew, and the model answers as before
            continue
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        together.update(f"{digest}  {name}\n".encode())
    return together.hexdigest()


def model_files(folder: Path) -> dict[str, Path]:
    """List the files of a model by their names below the folder, with `/`, in sorted order.

    Those whose names begin with a dot are left out, and the manifest that lies beside a model which was unzipped.
    """
    found = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    return {
        name: found[name]
        for name in sorted(found)
        if name != MANIFEST and not any(part.startswith(".") for part in name.split("/"))
    }
