"""Files of the Hugging Face Hub: those in the cache, or fetched if the Hub answers within seconds."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from threading import Thread

from mmer.errors import CheckpointError, reason_of
from mmer.files.nearest import nearest_path

PATIENCE = 4.0
"""Seconds after which a Hub that has not answered cannot be reached."""
_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_SETTINGS = ("*.json", "*.txt", "*.model", "*.yaml", "*.jinja")
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin", "model.pt")
"""Weights by the order in which one kind is chosen; a repository often has several kinds of the same weights."""


def is_hub_name(name: str) -> bool:
    """Tell whether a text can be the name of a model on the Hub, OWNER/NAME."""
    return bool(_NAME.fullmatch(name))


@cache
def hub_is_reachable() -> bool:
    """Tell whether the Hub answers within `PATIENCE` seconds; asked once in a process.

    huggingface_hub tries again for half a minute, and prints each try.
    """
    from huggingface_hub import constants, get_session

    if constants.is_offline_mode():
        return False
    answers = []

    def ask() -> None:
        try:
            answers.append(get_session().head(constants.ENDPOINT, timeout=PATIENCE).status_code)
        except Exception:  # of httpx and of the proxy, which have no common base
            return

    # A thread, since looking up the address has no timeout.
    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(answers) and answers[0] < 500


def cached_model(name: str) -> Path | None:
    """Find the folder of a model that was fetched before; None where there is none."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    for settings in ("config.json", "config.yaml"):
        try:
            found = try_to_load_from_cache(name, settings)
        except HFValidationError:  # no name that a model can have
            return None
        if isinstance(found, str):
            return Path(found).parent
    return None


def hub_model(name: str) -> Path:
    """Return the folder of a model of the Hub, from the cache if its weights are there, else fetched.

    Args:
        name: OWNER/NAME.

    Raises:
        CheckpointError: the Hub cannot be reached, has no such model, or does not give it.
    """
    folder = cached_model(name)
    if folder is not None and _chosen([path.name for path in folder.iterdir()]):
        return folder
    missing = f"there is no folder {name}{nearest_path(Path(name))}"
    local = f"make a folder of it on a machine with a network: hf download {name} --local-dir FOLDER"
    if not hub_is_reachable():
        raise CheckpointError(
            f"{missing}; the Hugging Face Hub cannot be reached, and its cache has no model of this name: if you mean "
            f"one, {local}"
        )
    from huggingface_hub import HfApi, snapshot_download

    try:
        files = [file.rfilename for file in HfApi().model_info(name, timeout=PATIENCE).siblings or []]
        wanted = [file for file in files if "/" not in file and _matches(file, _SETTINGS)]
        return Path(snapshot_download(name, allow_patterns=[*wanted, *_chosen(files)]))
    except Exception as error:  # of huggingface_hub, httpx and the disk, which have no common base
        raise CheckpointError(
            f"{missing}; a model of this name cannot be fetched from the Hugging Face Hub ({reason_of(error)}): if "
            f"there is one, {local}"
        ) from error


def _chosen(files: Sequence[str]) -> list[str]:
    """Choose the files of weights, of one kind."""
    for pattern in _WEIGHTS:
        if found := [file for file in files if "/" not in file and _matches(file, (pattern,))]:
            return found
    return []


def _matches(file: str, patterns: Sequence[str]) -> bool:
    return any(PurePosixPath(file).match(pattern) for pattern in patterns)
