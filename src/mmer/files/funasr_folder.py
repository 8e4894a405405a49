"""The files of a model that was released for FunASR."""

from pathlib import Path

SETTINGS, WEIGHTS, TOKENS = "config.yaml", "model.pt", "tokens.txt"


def is_funasr_folder(folder: Path) -> bool:
    """Tell whether a folder looks like a release for FunASR; files may be missing."""
    return not (folder / "config.json").exists() and any(
        (folder / name).is_file() for name in (SETTINGS, WEIGHTS)
    )
