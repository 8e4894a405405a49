"""Which epoch is the best, when to stop waiting for a better one, and which checkpoints are kept."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

CHOICE = "choice"
"""What the best epoch is best in: the score and, of equal scores, the lower cross-entropy."""
SELECTED, COMPARED = "eval", "eval_validation"
"""How figures of the split that chooses the epoch begin in the log, and those of the validation split beside it."""


class Patience(TrainerCallback):
    """Ends training when so many epochs brought no better score.

    Args:
        patience: epochs; null to go on to the last.
    """

    def __init__(self, patience: int | None) -> None:
        self.patience = patience

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if out_of_patience(state, self.patience):
            control.should_training_stop = True


class Checkpoints(TrainerCallback):
    """Removes checkpoints that are neither the newest nor the best of a judged split, but keeps two."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        assert args.output_dir is not None
        best = {best_step(state.log_history, prefix) for prefix in (SELECTED, COMPARED)} - {None}
        checkpoints = {
            int(path.name.split("-")[1]): path for path in Path(args.output_dir).glob("checkpoint-*")
        }
        kept = best | {state.global_step}
        if len(kept) == 1:
            kept |= set(sorted(checkpoints)[-2:])
        for step in checkpoints.keys() - kept:
            shutil.rmtree(checkpoints[step])


def best_step(logs: Sequence[Mapping[str, float]], prefix: str = SELECTED) -> int | None:
    """The optimizer step after the best epoch, the first of equal ones; null if the split was not judged.

    Args:
        logs: `TrainerState.log_history`.
        prefix: `SELECTED` or `COMPARED`.
    """
    judged = [log for log in logs if f"{prefix}_{CHOICE}" in log]
    return int(max(judged, key=lambda log: log[f"{prefix}_{CHOICE}"])["step"]) if judged else None


def out_of_patience(state: TrainerState, patience: int | None) -> bool:
    """Whether the last `patience` epochs brought no better score; read from the log, so a resumed run agrees."""
    scores = [log[f"eval_{CHOICE}"] for log in state.log_history if f"eval_{CHOICE}" in log]
    return patience is not None and bool(scores) and len(scores) - 1 - int(np.argmax(scores)) >= patience
