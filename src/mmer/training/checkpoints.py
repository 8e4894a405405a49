"""Checkpoints of a run: resuming, disk space and cleanup."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import TrainerState

from mmer.corpora.corpus import Corpus
from mmer.errors import TrainingError, is_out_of_memory
from mmer.files.damaged import damaged_file
from mmer.model.configuration import MMERConfig
from mmer.model.encoders.layers import chosen_layers
from mmer.model.encoders.speech import frozen_below
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.recipe.schema import Recipe
from mmer.runs.folder import TRAINER_STATE, RunFolder
from mmer.training.data import speech_cache, text_cache
from mmer.training.starting_model import starting_config

REFIT = "refit"
"""Subfolder of a run for the second training of `protocol.refit`."""
_GB = 1e9
FRAMES_A_SECOND = 50
"""Frames that the usual pretrained speech encoders make of a second."""


@dataclass(frozen=True)
class Space:
    """Estimate of disk space in bytes.

    Attributes:
        training: peak size of a run, including models.
        finished: size of a finished run.
    """

    training: int
    finished: int


def space_needed(recipe: Recipe, train: Corpus, labels: Sequence[str]) -> Space:
    """Estimate the disk space of a run without loading weights.

    Args:
        recipe: the recipe.
        train: the training utterances, or a superset.
        labels: the emotions.

    Raises:
        EncoderError, RecipeError, CheckpointError: see `starting_config`.
    """
    config = starting_config(recipe, train, labels)
    with torch.device("meta"):
        model = MMERForEmotionRecognition(config)
    weights = sum(parameter.numel() for parameter in model.parameters())
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    protocol = recipe.protocol
    two_judged = protocol.selection == "test" and protocol.validation != 0
    finished = 4 * weights * (2 if protocol.refit or two_judged else 1)
    # AdamW stores two numbers for each trained weight. The newest checkpoint and the best of each judged split are
    # kept while another one is written; the two of the first training remain until a refit is over.
    checkpoints = 3 + 2 * protocol.refit + two_judged
    return Space(
        checkpoints * (4 * weights + 8 * learning)
        + finished
        + _text_cache(recipe, config, train)
        + _speech_cache(recipe, config, train),
        finished,
    )


def _text_cache(recipe: Recipe, config: MMERConfig, train: Corpus) -> int:
    if not config.uses_text or recipe.model.text.train != "frozen":
        return 0
    characters = int(train.table["transcript"].dropna().drop_duplicates().str.len().sum())
    states = 4 * int(config.text_config.hidden_size) * characters // 3  # about three characters a token
    return min(states, int(recipe.training.text_cache_gb * _GB))


def _speech_cache(recipe: Recipe, config: MMERConfig, train: Corpus) -> int:
    if not config.uses_speech:
        return 0
    encoder = config.speech_config
    below = frozen_below(encoder, config.speech_train)
    if config.speech_train != "frozen" and below is None:
        return 0
    layers = chosen_layers(config.speech_layers, encoder.num_hidden_layers, "speech") or [
        encoder.num_hidden_layers
    ]
    if below is not None:
        layers = [*(number for number in layers if number < below), below]
    copies = 1 + (recipe.augment.speech.variants if recipe.changes_second_sound else 0)
    seconds = copies * float(train.table["duration"].fillna(0).sum())
    states = 4 * int(encoder.hidden_size) * len(layers) * FRAMES_A_SECOND * seconds
    return min(int(states), int(recipe.training.speech_cache_gb * _GB))


def check_space(folder: Path, needed: Space, runs: Sequence[Path], at_a_time: int = 1) -> None:
    """Check that the disk of a folder has room for unfinished runs.

    Args:
        folder: an existing folder.
        needed: space needed by each run.
        runs: one or more run folders, whose existing files are deducted.
        at_a_time: number of runs trained in parallel.

    Raises:
        TrainingError: there is too little room.
    """
    beside = min(at_a_time, len(runs))
    total = beside * needed.training + (len(runs) - beside) * needed.finished
    held = sum(file.stat().st_size for run in runs for file in run.rglob("*") if file.is_file())
    free = shutil.disk_usage(folder).free
    if total - held > free:
        more = f"about {_size(total - held)} more for checkpoints and models"
        found = f"{_size(free)} are free on its disk"
        raise TrainingError(
            f"{folder}: training needs {more}, and {found}; make room, or use a folder on another disk"
        )


def _size(bytes_on_disk: int) -> str:
    return f"{bytes_on_disk / _GB:.1f} GB" if bytes_on_disk >= _GB else f"{bytes_on_disk / 1e6:.1f} MB"


def prune(folder: Path) -> None:
    """Remove the caches and the checkpoints of a finished run, except the training log in the newest.

    Args:
        folder: the run folder, which holds the models.
    """
    for stage in (folder, folder / REFIT):
        for cache in (speech_cache.FOLDER, text_cache.FOLDER):
            shutil.rmtree(stage / cache, ignore_errors=True)
        newest_first = RunFolder(stage).checkpoints
        for checkpoint in newest_first[1:]:
            shutil.rmtree(checkpoint)
        for file in newest_first[0].iterdir() if newest_first else ():
            if file.is_dir():
                shutil.rmtree(file)
            elif file.name != TRAINER_STATE:
                file.unlink()


def last_checkpoint(folder: Path) -> tuple[Path | None, TrainerState | None]:
    """Return the newest complete checkpoint of a run and its state; remove an incomplete one."""
    for checkpoint in RunFolder(folder).checkpoints:
        try:
            return checkpoint, TrainerState.load_from_json(str(checkpoint / TRAINER_STATE))
        except (OSError, ValueError, TypeError):
            shutil.rmtree(checkpoint)
    return None, None


@contextmanager
def reading_checkpoint(checkpoint: str | None) -> Iterator[None]:
    """Turn what is raised for a damaged checkpoint into one error of one line.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        yield
    except Exception as error:
        if checkpoint is None or is_out_of_memory(error):
            raise
        advice = "remove it, and the same command goes on from the epoch before it, or from the start"
        with damaged_file(Path(checkpoint), advice):
            raise
