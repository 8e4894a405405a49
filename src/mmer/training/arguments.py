"""Conversion of a recipe's training settings to those of `transformers.Trainer`."""

import multiprocessing
import os
from pathlib import Path

import torch
from transformers import TrainingArguments

from mmer.errors import RecipeError
from mmer.plain_text import name_of
from mmer.recipe.schema import Recipe

LOGS_PER_EPOCH = 10
MOST_WORKERS = 4


class OneDeviceArguments(TrainingArguments):
    """Training arguments of a process on one device, so that the Trainer never splits a batch over several GPUs."""

    @property
    def n_gpu(self) -> int:
        return min(super().n_gpu, 1)


def training_arguments(
    recipe: Recipe, folder: Path, utterances: int, *, judged: bool = True
) -> TrainingArguments:
    """Create the Trainer's settings from a recipe.

    Args:
        recipe: the recipe, of which the `training` section is read.
        folder: folder for checkpoints.
        utterances: number that is drawn in an epoch.
        judged: whether utterances are judged after each epoch.

    Raises:
        RecipeError: the precision is float16 without a GPU.
    """
    settings, gpu = recipe.training, torch.cuda.is_available()
    if settings.precision == "float16" and not gpu:
        raise RecipeError("training.precision is float16, which needs a CUDA GPU; use bfloat16 or float32")
    workers = loading_processes(settings.workers, gpu=gpu)
    if workers:  # otherwise each process warns that it was forked
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    steps = settings.steps_an_epoch(utterances)
    return OneDeviceArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs_of(utterances),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.at_a_time,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_ratio,
        lr_scheduler_type="constant_with_warmup" if settings.schedule == "constant" else settings.schedule,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm or 0.0,
        # An encoder may have unused parameters, such as the vector for masked spans.
        ddp_find_unused_parameters=True,
        seed=settings.seed,
        # Published checkpoints and encoders are tested on CPU and CUDA; CTC does not run on Apple's MPS.
        use_cpu=not gpu,
        bf16=settings.precision == "bfloat16",
        fp16=settings.precision == "float16",
        dataloader_num_workers=workers,
        dataloader_pin_memory=gpu,
        remove_unused_columns=False,
        label_names=["labels"],
        logging_strategy="steps",
        logging_steps=max(1, steps // LOGS_PER_EPOCH),
        logging_nan_inf_filter=False,
        eval_strategy="epoch" if judged else "no",
        save_strategy="epoch",
        disable_tqdm=True,
        report_to="none",  # see MMERTrainer
        run_name=name_of(folder.parent),
    )


def loading_processes(workers: int | None, *, gpu: bool) -> int:
    """Return the number of processes that load audio for each training process.

    Args:
        workers: setting of the recipe; None to choose by the machine, see `Training.workers`.
        gpu: whether a GPU trains.
    """
    if workers is not None:
        return workers
    if not gpu or multiprocessing.get_start_method() != "fork":
        return 0
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return max(0, min(MOST_WORKERS, cores // beside - 1))


def devices_told(recipe: Recipe) -> list[str]:
    """Describe the devices before training, a line each."""
    settings, lines = recipe.training, []
    if not torch.cuda.is_available():
        if settings.precision == "bfloat16" and torch.backends.cpu.get_cpu_capability() == "AVX2":
            lines.append(
                "this processor has no AVX-512, without which bfloat16 takes many times as long as float32; "
                "training.precision=float32 is faster"
            )
        return lines
    if settings.precision == "float32":
        how = "float32 in TF32; training.tf32=false for full float32" if settings.tf32 else "full float32"
        lines.append(f"{torch.cuda.get_device_name()}: {how}")
    count = torch.cuda.device_count()
    if count > 1 and int(os.environ.get("WORLD_SIZE", 1)) == 1:
        lines.append(
            f"one of {count} GPUs is used; start the command with torchrun --nproc-per-node {count} -m to use all"
        )
    return lines
