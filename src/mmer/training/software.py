"""Record of the software of a run, before and after resuming."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.console import Console

from mmer.display.terminal import tell
from mmer.files.writing import write_json
from mmer.recipe.schema import Recipe
from mmer.version import __version__

SOFTWARE = (
    *("torch", "transformers", "peft", "accelerate", "tokenizers", "numpy", "pandas", "scikit-learn"),
    *("audiomentations", "soundfile", "soxr", "av"),
)
_AT_A_TIME = "training.micro_batch_size"


def versions(recipe: Recipe) -> dict[str, str]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "mmer": __version__,
        **{name: _version(name) for name in SOFTWARE},
        _AT_A_TIME: str(recipe.training.at_a_time),
    }


def note_changes(file: Path, recipe: Recipe, console: Console) -> None:
    """Add the software of a resumed run to the record, as in `2.8.0, then 2.9.1`."""
    before = json.loads(file.read_text(encoding="utf-8"))
    changed = {
        name: f"{before[name]}, then {value}" if name in before else value
        for name, value in versions(recipe).items()
        if before.get(name, "").rpartition(", then ")[2] != value
    }
    software = [f"{name} {value}" for name, value in changed.items() if name != _AT_A_TIME]
    if software:
        told = f"warning: the run was begun with other software: {'; '.join(software)}"
        tell(told, console, style="yellow")
    if _AT_A_TIME in changed and _AT_A_TIME in before:
        told = f"note: {_AT_A_TIME} is {changed[_AT_A_TIME]}: gradients stay the same, but for what dropout draws"
        tell(told, console)
    if changed:
        write_json(file, {**before, **changed})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
