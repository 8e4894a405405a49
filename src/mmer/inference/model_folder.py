"""Model folders as training and `save_pretrained` write them."""

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mmer.errors import CheckpointError
from mmer.extras import import_extra
from mmer.inference.network import Network
from mmer.inference.onnx_network import MODEL, read_onnx_network
from mmer.model.configuration import MMERConfig
from mmer.model.processor import MMERProcessor
from mmer.progress import quiet_transformers

if TYPE_CHECKING:
    import torch


def read_model_folder(
    folder: Path, device: "str | torch.device | None" = None
) -> tuple[Network, MMERProcessor]:
    """Load a model and its processor.

    Args:
        folder: with `config.json`, `model.safetensors` or `model.onnx`, `processor_config.json` and the tokenizer's
            files.
        device: see `EmotionRecognizer`.

    Raises:
        CheckpointError: it is no model folder, a file is missing or damaged, or weights are missing.
        MMERError: there is no such device.
        MissingExtraError: PyTorch, or onnxruntime for an exported model, is not installed.
    """
    processor = read_processor(folder)
    if (folder / MODEL).is_file():
        shortest = 1 if processor.reads_features else processor.minimum_samples
        return read_onnx_network(folder, shortest, device), processor
    import_extra("torch", f"model folder {folder}")
    from mmer.inference.torch_network import read_torch_network

    return read_torch_network(folder, device), processor


def read_processor(folder: Path) -> MMERProcessor:
    """Load the processor of a model folder, without the model.

    Raises:
        CheckpointError: as for `read_model_folder`.
    """
    check_model_folder(folder)
    try:
        with quiet_transformers():
            return MMERProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"model folder {folder} cannot be loaded: {one_line(error)}") from error


def check_model_folder(folder: Path) -> None:
    """Find out whether a folder holds a model.

    Raises:
        CheckpointError: as for `read_model_folder`.
    """
    if not folder.is_dir():
        raise CheckpointError(f"no model folder at {folder}; give the folder that training wrote, RUN/model")
    if not (folder / "config.json").is_file():
        inside = folder / "model"
        hint = f"; do you mean {inside}?" if (inside / "config.json").is_file() else ""
        raise CheckpointError(f"{folder} is not a model folder, it holds no config.json{hint}")
    is_exported = (folder / MODEL).is_file()
    for name in ("processor_config.json", *(() if is_exported else ("model.safetensors",))):
        if not (folder / name).is_file():
            raise CheckpointError(f"model folder {folder} is not complete: it holds no {name}")
    try:
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"model folder {folder}: config.json is damaged ({one_line(error)})") from error
    if model_type != MMERConfig.model_type:
        raise CheckpointError(f"{folder} holds a model of type {model_type}, not {MMERConfig.model_type}")


def one_line(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def model_hash(folder: str | os.PathLike[str]) -> str:
    """What tells one model from another: SHA-256 over the names and contents of a model folder's files.

    Args:
        folder: files in it whose names begin with a dot are left out.

    Returns:
        64 hexadecimal digits.
    """
    root, together = Path(folder), hashlib.sha256()
    files = {file.relative_to(root).as_posix(): file for file in root.rglob("*") if file.is_file()}
    for name in sorted(files):
        if not any(part.startswith(".") for part in name.split("/")):
            with files[name].open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            together.update(f"{digest}  {name}\n".encode())
    return together.hexdigest()
