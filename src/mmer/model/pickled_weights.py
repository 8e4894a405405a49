"""Weights in files that `torch.save` wrote, which are pickles; no code in them is run."""

import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from mmer.errors import CheckpointError
from mmer.files.damaged import check_no_pointer


def read_pickled_weights(path: Path, key: str, advice: str) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint by name.

    Args:
        path: a pickle of tensors by name, alone or under a key.
        key: name of that key.
        advice: end of the message about a file that is no such checkpoint.

    Returns:
        Tensors, (...,) of any shape, on the CPU. They may be mapped from the file.

    Raises:
        CheckpointError: there is no such file, or it is no checkpoint of tensors.
    """
    if not path.exists():
        raise CheckpointError(f"no such file: {path}")
    check_no_pointer(path)
    try:
        if not path.is_file():  # but a folder, or a pipe that would be waited for
            raise ValueError("no regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mapped = zipfile.is_zipfile(path)  # PyTorch cannot map files from before its version 1.6
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        # The error leaves out PyTorch's message, which advises to read the file in a way that can run code.
        raise CheckpointError(
            f"{path} cannot be read as a PyTorch checkpoint of tensors alone: it is something else, holds other "
            f"Python objects, or is damaged; {advice}"
        ) from error
    content = content.get(key, content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise CheckpointError(f"{path} holds no {key} of tensors")
    return content
