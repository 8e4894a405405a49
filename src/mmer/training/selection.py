"""Selection of the best epoch, early stopping, and retention of checkpoints.

With modality dropout, the score of an epoch is the mean of the scores from both modalities, from sound alone and from
text alone, weighted by their frequency in training. The score from both modalities alone would favor epochs that have
not yet learned to answer without one of them.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mmer.evaluation.metrics import compute_metrics
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.recipe.schema import Recipe

CHOICE = "choice"
"""Score that selects the epoch: `protocol.metric`, with ties broken by cross-entropy."""
SELECTED, COMPARED = "eval", "eval_validation"
"""Prefixes in the log of the split that selects the epoch, and of the validation split beside it."""


def trained_conditions(recipe: Recipe) -> dict[str, float]:
    """Return how often training uses `both` modalities (as far as present), and `speech` or `text` alone.

    The shares add up to 1; conditions that never occur are left out.
    """
    drops = recipe.augment.missing
    if not recipe.missing_modality_embeddings:
        return {"both": 1.0}
    alone = {"speech": drops.text, "text": drops.speech}
    return {"both": 1 - sum(alone.values())} | {side: share for side, share in alone.items() if share}


def logits_by_condition(
    model: MMERForEmotionRecognition, inputs: Mapping[str, Tensor], conditions: Sequence[str]
) -> Tensor:
    """Compute logits (batch, conditions, emotions); an utterance with one modality has the same in all conditions.

    Args:
        model: the model, with missing-modality embeddings unless `both` is the only condition.
        inputs: inputs of `forward`.
        conditions: names of `trained_conditions`.
    """
    speech, text = model.encode(**inputs)
    logits = {"both": model.answer(speech, text)[1]}
    if speech is not None and text is not None:
        has_both = (speech.given & text.given)[:, None]
        for side, encodings in (("speech", (speech, None)), ("text", (None, text))):
            if side in conditions:
                logits[side] = torch.where(has_both, model.answer(*encodings)[1], logits["both"])
    return torch.stack([logits.get(condition, logits["both"]) for condition in conditions], dim=1)


def judge_epoch(
    logits: NDArray[np.floating],
    truth: NDArray[np.int64],
    labels: list[str],
    conditions: Mapping[str, float],
    metric: str = "balanced_accuracy",
) -> dict[str, float]:
    """Compute the figures of an epoch.

    Args:
        logits: (utterances, conditions, emotions) from `logits_by_condition`.
        truth: (utterances,) indices of emotions.
        labels: names of the emotions.
        conditions: conditions from `trained_conditions`.
        metric: the metric that selects the epoch, as `protocol.metric`.

    Returns:
        Balanced accuracy, accuracy and macro F1 from both modalities, balanced accuracy from each alone, and `CHOICE`.
    """
    true = [labels[i] for i in truth]
    found = {CHOICE: 0.0}
    for number, (condition, share) in enumerate(conditions.items()):
        answers = logits[:, number]
        figures = compute_metrics(true, [labels[i] for i in answers.argmax(axis=1)], labels)
        surprise = F.cross_entropy(torch.from_numpy(answers), torch.from_numpy(truth)).item()
        found[CHOICE] += share * (getattr(figures, metric) + 1e-6 / (1 + surprise))
        if condition == "both":
            found |= {name: getattr(figures, name) for name in ("balanced_accuracy", "accuracy", "macro_f1")}
        else:
            found[f"balanced_accuracy_{condition}"] = figures.balanced_accuracy
    return found


class Patience(TrainerCallback):
    """Early stopping after a number of epochs without a better score.

    Args:
        patience: number of epochs; None for no early stopping.
    """

    def __init__(self, patience: int | None) -> None:
        self.patience = patience

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if out_of_patience(state, self.patience):
            control.should_training_stop = True


class Checkpoints(TrainerCallback):
    """Cleanup of checkpoints that are neither the newest nor the best of a judged split; keeps at least two."""

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
    """Return the optimizer step after the best epoch, the first of ties; None if the split was not judged.

    Args:
        logs: `TrainerState.log_history`.
        prefix: `SELECTED` or `COMPARED`.
    """
    judged = [log for log in logs if f"{prefix}_{CHOICE}" in log]
    return int(max(judged, key=lambda log: log[f"{prefix}_{CHOICE}"])["step"]) if judged else None


def out_of_patience(state: TrainerState, patience: int | None) -> bool:
    """Tell from the log, so that a resumed run agrees, whether the last `patience` epochs brought no better score."""
    scores = [log[f"eval_{CHOICE}"] for log in state.log_history if f"eval_{CHOICE}" in log]
    return patience is not None and bool(scores) and len(scores) - 1 - int(np.argmax(scores)) >= patience


def epoch_of(state: TrainerState, step: int) -> int:
    """Return the epoch that ended with an optimizer step."""
    return round((state.epoch or 0) * step / state.global_step)


def is_over(state: TrainerState, recipe: Recipe) -> bool:
    """Tell whether training has reached its last step or is out of patience."""
    return state.global_step >= state.max_steps or out_of_patience(state, recipe.training.patience)
