"""Files of settings in a model folder that anyone may have written: their sizes and their numbers."""

import re
from collections.abc import Iterator
from pathlib import Path

from mmer.errors import CheckpointError
from mmer.files.damaged import LARGEST_JSON, damaged_file
from mmer.files.regular import refuse_special

_SETTINGS = {".jinja", ".json", ".model", ".txt"}
_LARGEST = 2**31
_LARGEST_BY_NAME = {
    re.compile(r"layers|labels|blocks|heads|experts"): 10_000,
    re.compile(r"position"): 2**21,
}
"""Of the numbers in a config.json, by name: what transformers makes lists and tables of before it has seen weights."""
_LARGEST_OF_SOUND = {
    re.compile(r"sampling_rate"): 768_000,
    re.compile(r"n_samples"): 2_000_000,  # of Whisper's window
    re.compile(""): 100_000,
}
"""Of the numbers that describe how sound is read."""


def check_settings_files(folder: Path) -> None:
    """Refuse files that are no regular files, and settings that are too large to be read.

    Raises:
        CheckpointError: the folder holds one.
    """
    for path in folder.iterdir():
        refuse_special(path, CheckpointError)
        if path.suffix in _SETTINGS and path.is_file() and path.stat().st_size > LARGEST_JSON:
            raise CheckpointError(
                f"{path} has {path.stat().st_size / 1e6:.0f} MB; a file of settings or of a tokenizer has at most "
                f"{LARGEST_JSON // 10**6} MB"
            )


def check_network_numbers(path: Path, content: object) -> None:
    """Refuse numbers of a config.json that would take time or memory without end when a network is built of them.

    Args:
        path: of the file, for the message.
        content: of the file.

    Raises:
        CheckpointError: a number is too large.
    """
    _check_numbers(path, content, _LARGEST_BY_NAME)


def check_sound_numbers(path: Path, content: object) -> None:
    """Refuse numbers of a feature extractor that are too large; see `check_network_numbers`."""
    _check_numbers(path, content, _LARGEST_OF_SOUND)


def _check_numbers(path: Path, content: object, largest: dict[re.Pattern[str], int]) -> None:
    with damaged_file(path):
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
