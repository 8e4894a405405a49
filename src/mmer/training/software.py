"""Record of the software of a run, before and after resuming."""

import platform
from pathlib import Path

import torch
from rich.console import Console

from mmer.display.terminal import tell
from mmer.extras import installed_version
from mmer.recipe.schema import Recipe
from mmer.runs.versions import Versions
from mmer.version import __version__

SOFTWARE = (
    *("torch", "transformers", "peft", "accelerate", "tokenizers", "numpy", "pandas", "scikit-learn"),
    *("audiomentations", "soundfile", "soxr", "av"),
)
_AT_A_TIME = "training.micro_batch_size"


def versions_now(recipe: Recipe) -> dict[str, str]:
    """Return the versions of the software, by name, and the number of utterances in memory at a time."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "mmer": __version__,
        **{name: installed_version(name) or "not installed" for name in SOFTWARE},
        _AT_A_TIME: str(recipe.training.at_a_time),
    }


def note_changes(file: Path, recipe: Recipe, console: Console) -> None:
    """Add the software of a resumed run to its `versions.json`, and report what changed."""
    before = Versions.read(file)
    changed = before.changed(versions_now(recipe))
    software = [f"{name} {text}" for name, text in changed.texts().items() if name != _AT_A_TIME]
    if software:
        told = f"warning: the run was begun with other software: {'; '.join(software)}"
        tell(told, console, style="yellow")
    if _AT_A_TIME in changed.used and _AT_A_TIME in before.used:
        sizes = changed.texts()[_AT_A_TIME]
        told = f"note: {_AT_A_TIME} is {sizes}: gradients stay the same, but for what dropout draws"
        tell(told, console)
    if changed.used:
        Versions(used={**before.used, **changed.used}).write(file)
