"""A recipe's training settings as `transformers.Trainer` wants them."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import TrainingArguments

from mmer.errors import RecipeError
from mmer.extras import import_extra
from mmer.recipe import Recipe

LOGS_PER_EPOCH = 10


def training_arguments(
    recipe: Recipe, folder: Path, utterances: int, *, judged: bool = True
) -> TrainingArguments:
    """The Trainer's settings of a recipe.

    Args:
        recipe: its `training` section.
        folder: for checkpoints.
        utterances: how many there are to train on.
        judged: whether there are utterances to judge after each epoch.

    Raises:
        RecipeError: float16 without a GPU.
        MissingExtraError: a package that `training.report_to` names is not installed.
    """
    settings, gpu = recipe.training, torch.cuda.is_available()
    if settings.precision == "float16" and not gpu:
        raise RecipeError("training.precision is float16, which needs a CUDA GPU; use bfloat16 or float32")
    steps = math.ceil(utterances / (settings.batch_size * settings.accumulation))
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_ratio,
        lr_scheduler_type="constant_with_warmup" if settings.schedule == "constant" else settings.schedule,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm or 0.0,
        # An encoder may have parameters that its settings leave unused, such as the vector that masks spans.
        ddp_find_unused_parameters=True,
        seed=settings.seed,
        # The published checkpoints and every encoder are tested on CPU and CUDA; CTC does not run on Apple's MPS.
        use_cpu=not gpu,
        bf16=settings.precision == "bfloat16",
        fp16=settings.precision == "float16",
        dataloader_num_workers=settings.workers,
        dataloader_pin_memory=gpu,
        remove_unused_columns=False,
        label_names=["labels"],
        logging_strategy="steps",
        logging_steps=max(1, steps // LOGS_PER_EPOCH),
        logging_nan_inf_filter=False,
        eval_strategy="epoch" if judged else "no",
        save_strategy="epoch",
        disable_tqdm=True,
        report_to=_loggers(settings.report_to),
        run_name=folder.parent.name,
    )


def _loggers(wanted: Sequence[str]) -> list[str]:
    """Those that log for the Trainer; TensorBoard's events go to the run folder by a callback of our own."""
    others = [name for name in wanted if name != "tensorboard"]
    for name in others:
        import_extra(name, f"training.report_to: [{name}]")
    return others
