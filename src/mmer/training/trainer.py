"""The training loop: `transformers.Trainer` with the four objectives."""

import math
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Sampler
from torch.utils.tensorboard import SummaryWriter
from transformers import (
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from mmer.errors import MMERError, TrainingError, is_out_of_memory
from mmer.files.writing import writable
from mmer.model.dropout import quicken_dropout
from mmer.model.encoders.activation_checkpointing import enable_activation_checkpointing
from mmer.model.gpu_settings import attention_of_any_length, tf32
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.objectives.gradient_cache import Kept, backward_in_parts, split_batch
from mmer.objectives.multitask import multitask_loss
from mmer.recipe.schema import Recipe
from mmer.runs.folder import CHECKPOINTS
from mmer.training.arguments import training_arguments
from mmer.training.checkpoints import reading_checkpoint
from mmer.training.data.dataset import Batch, Collator, SpeechEmotionDataset
from mmer.training.data.order import EpochSampler
from mmer.training.data.text_cache import FOLDER as TEXT_CACHE
from mmer.training.data.text_cache import KeyedCollator, TextCache
from mmer.training.gradient_shares import PREFIX, gradient_shares
from mmer.training.non_finite import Suspects, found_out, suspects
from mmer.training.parameter_groups import parameter_groups
from mmer.training.selection import (
    COMPARED,
    SELECTED,
    Checkpoints,
    Patience,
    judge_epoch,
    logits_by_condition,
    trained_conditions,
)
from mmer.training.trackers import Tracker

SIMILAR = 8
"""Utterances of similar length that a processor computes together."""


class MMERTrainer(Trainer):
    """Trainer of `MMERForEmotionRecognition` for a recipe.

    Each log entry has every objective, averaged over the steps since the last entry, and `infinite_ctc`, the number of
    utterances in them whose transcript has no CTC alignment. After each epoch the selection split is judged and a
    checkpoint is written.

    Args:
        model: the model with its encoders.
        recipe: the recipe, of which the section `training` is read.
        train: training utterances.
        selection: utterances judged after each epoch, which may select the best one; None for none.
        collator: collator of the batches.
        folder: the run folder; `checkpoints/` and `tensorboard/` go there.
        callbacks: additional callbacks.
        compared: further utterances judged after each epoch, to find the epoch that they would select.
        schedule_epochs: number of epochs of the learning-rate schedule; default: that of the recipe.

    Raises:
        RecipeError: the precision is float16 without a GPU.
        MissingExtraError: a package that `training.report_to` names is not installed.
        RecipeError, EncoderError: learning rates that do not suit the model, when training begins; see
            `parameter_groups`.
    """

    def __init__(
        self,
        model: MMERForEmotionRecognition,
        recipe: Recipe,
        train: SpeechEmotionDataset,
        selection: SpeechEmotionDataset | None,
        collator: Collator,
        folder: Path,
        callbacks: list[TrainerCallback],
        compared: SpeechEmotionDataset | None = None,
        schedule_epochs: int | None = None,
    ) -> None:
        self.recipe = recipe
        self.sampler = _sampler(recipe, train)
        self.epochs = recipe.training.epochs_of(len(self.sampler))
        self.schedule_epochs = schedule_epochs or self.epochs
        self.compared = compared
        self.labels = collator.processor.labels
        self.conditions = trained_conditions(recipe)
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._pending: list[tuple[list[str], Tensor, Suspects]] = []
        self._suspects: list[Suspects] = []
        self._measured = -1
        enable_activation_checkpointing(model, recipe.training.activation_checkpointing)
        quicken_dropout(model)
        reader, limit = model.text_encoder, recipe.training.text_cache_gb * 1e9
        # The linear classifier of words reads the tokens that the cache would replace.
        needs_tokens = model.words_classifier is not None
        caches = reader is not None and reader.trained == "frozen" and limit > 0 and not needs_tokens
        arguments = training_arguments(
            recipe, folder / CHECKPOINTS, len(self.sampler), judged=selection is not None
        )
        if train.frozen is not None:
            # Nothing is decoded, and clips that are not stored need the encoder.
            arguments.dataloader_num_workers = 0
        trackers = [Tracker(name) for name in recipe.training.report_to if name != "tensorboard"]
        super().__init__(
            model,
            arguments,
            data_collator=KeyedCollator(collator) if caches else collator,
            train_dataset=train,
            eval_dataset=selection,
            compute_metrics=self._judge,
            callbacks=[
                _Epochs(self),
                Patience(recipe.training.patience),
                Checkpoints(),
                *trackers,
                *callbacks,
            ],
        )
        if self.is_world_process_zero() and "tensorboard" in recipe.training.report_to:
            self.add_callback(TensorBoardCallback(SummaryWriter(str(folder / "tensorboard"))))
        self.remove_callback(PrinterCallback)
        self.text_cache: TextCache | None = None
        if reader is not None and caches:
            processes, number = self.accelerator.num_processes, self.accelerator.process_index
            self.text_cache = TextCache(
                folder / TEXT_CACHE,
                reader,
                limit / processes,
                recipe.training.precision,
                number,
                keep_second_view=recipe.augment.views is not None,
            )
        # The model accepts any keyword, from which the Trainer would conclude that it divides by the accumulated items.
        self.model_accepts_loss_kwargs = False

    def train(self, *args: Any, **named: Any) -> Any:
        """Train, in TF32 if the recipe says so.

        Raises:
            TrainingError: there is not enough memory, or the loss is not finite.
        """
        try:
            with tf32(self.recipe.training.tf32), attention_of_any_length(), _no_trace_of_event_writer():
                return super().train(*args, **named)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(self._out_of_memory()) from error

    def _out_of_memory(self) -> str:
        settings = self.recipe.training
        where = f"{torch.cuda.get_device_name()} has" if torch.cuda.is_available() else "this machine has"
        at_a_time = settings.at_a_time
        remedies = []
        if at_a_time > 1:
            remedies.append(f"set training.micro_batch_size={at_a_time // 2}, which changes no gradient")
        if settings.activation_checkpointing != "layers":
            less = "cheap" if settings.activation_checkpointing == "none" else "layers"
            remedies.append(f"training.activation_checkpointing={less}")
        remedies.append("data.crop_duration to cut the longest utterances")
        return (
            f"{where} not enough memory for {at_a_time} utterances at a time in step {self.state.global_step + 1}; "
            f"{', '.join(remedies)}"
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self.sampler

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Create AdamW with the groups of `parameter_groups`."""
        if self.optimizer is None:
            unwrapped = self.accelerator.unwrap_model(self.model if model is None else model)
            assert isinstance(unwrapped, MMERForEmotionRecognition)
            official = self.recipe.objectives.formulation == "official"
            everything = [name for name, _ in unwrapped.named_parameters()]
            decayed = everything if official else self.get_decay_parameter_names(unwrapped)
            groups = parameter_groups(unwrapped, self.recipe.training, decayed)
            optimizer, settings = self.get_optimizer_cls_and_kwargs(self.args, unwrapped)
            self.optimizer = optimizer(groups, **settings)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Create the schedule of the recipe, or the beginning of the one over `schedule_epochs`."""
        steps = num_training_steps * self.schedule_epochs // self.epochs
        return super().create_scheduler(steps, optimizer)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Compute the weighted sum of the objectives, and store each of them on the device for the next log entry.

        A GPU takes the batch as it is. A processor spends its time on padded sound too: there, parts of similar length
        pass through the network one after the other, and the loss is that of the whole batch.
        """
        if self.args.device.type == "cpu" and "speech_attention_mask" in inputs:
            outputs = [model(**part) for part in split_batch(inputs, SIMILAR)]
            summary = {
                name: torch.cat([each.summary[name] for each in outputs]) for name in outputs[0].summary
            }
            config = self.accelerator.unwrap_model(model).config
            loss, objectives, infinite_ctc = multitask_loss(config, summary)
        else:
            outputs = model(**inputs)
            summary = outputs.summary
            loss, objectives, infinite_ctc = outputs.loss, outputs.objectives, outputs.infinite_ctc
        self._count(objectives, infinite_ctc)
        self._suspects.append(suspects(summary))
        return (loss, outputs) if return_outputs else loss

    def _count(self, objectives: Mapping[str, Tensor], infinite_ctc: Tensor) -> None:
        for name, value in {**objectives, "infinite_ctc": infinite_ctc}.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach().float()
            self._counts[name] = self._counts.get(name, 0) + 1

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Run one forward and backward pass.

        Raises:
            TrainingError: the loss of a batch since the last optimizer step is not finite; the weights are as the
                last step left them.
        """
        if self.recipe.objectives.formulation == "official":
            # The Trainer knows the number of accumulated batches, which may be lower in the last step.
            self.current_gradient_accumulation_steps = self.args.gradient_accumulation_steps
        utterance_ids = inputs.pop("utterance_ids")
        self._read_texts(inputs)
        epoch = round(self.state.epoch or 0, 6)
        if self.recipe.training.log_gradient_shares and epoch >= self._measured + 1:
            self._measured = int(epoch)
            self._log_gradient_shares(inputs)
        size = self.recipe.training.micro_batch_size or len(inputs["labels"])
        self._suspects.clear()
        if size < len(inputs["labels"]) or self.accelerator.num_processes > 1:
            loss = self._step_in_parts(model, inputs, size)
        else:
            loss = super().training_step(model, inputs, num_items_in_batch)
        self._pending.append((utterance_ids, loss, Suspects.of(self._suspects, len(utterance_ids))))
        if self.accelerator.sync_gradients:
            self._check_losses()
        return loss

    def _read_texts(self, inputs: Batch) -> None:
        """Replace texts by hidden states where the text encoder is frozen."""
        if self.text_cache is not None:
            with self.accelerator.autocast():
                self.text_cache.complete(inputs)

    def _step_in_parts(self, model: nn.Module, inputs: Batch, size: int) -> Tensor:
        """Run the step of a batch that exceeds memory or is shared by several processes."""
        model.train()
        unwrapped = self.accelerator.unwrap_model(model)
        assert isinstance(unwrapped, MMERForEmotionRecognition)
        steps = self.current_gradient_accumulation_steps

        def summarize(part: Mapping[str, Tensor], kept: Kept | None) -> dict[str, Tensor]:
            with self.compute_loss_context_manager():
                summary = model(**part, kept=kept).summary
            self._suspects.append(suspects(summary))
            return summary

        several = self.accelerator.num_processes > 1
        loss, objectives, infinite_ctc = backward_in_parts(
            split_batch(self._prepare_inputs(inputs), size),
            summarize,
            partial(multitask_loss, unwrapped.config),
            lambda loss: self.accelerator.backward(loss / steps),
            gather=self._gather if several else None,
            rank=self.accelerator.process_index,
            unsynchronized=partial(self.accelerator.no_sync, model),
        )
        self._count(objectives, infinite_ctc)
        return loss / steps

    def _gather(self, tensor: Tensor) -> Tensor:
        gathered = self.accelerator.gather(tensor)
        assert isinstance(gathered, Tensor)
        return gathered

    def _log_gradient_shares(self, inputs: Batch) -> None:
        model = self.accelerator.unwrap_model(self.model)
        assert isinstance(model, MMERForEmotionRecognition)
        model.train()
        size = self.recipe.training.micro_batch_size or len(inputs["labels"])
        parts = split_batch(self._prepare_inputs(inputs), size)
        part = parts[len(parts) // 2]  # of medium length
        with self.compute_loss_context_manager():
            shares = gradient_shares(model, part)
        self.log({f"{PREFIX}{name}": share for name, share in shares.items()})

    def _check_losses(self) -> None:
        """Check the losses before the optimizer's step, with one synchronization for all batches of the step."""
        finite = torch.stack([loss for _, loss, _ in self._pending]).isfinite().tolist()
        bad = [batch for batch, good in zip(self._pending, finite, strict=True) if not good]
        self._pending.clear()
        if bad:
            broken = [name for name, total in self._sums.items() if not math.isfinite(total.item())]
            where = f"the loss is not finite in step {self.state.global_step + 1} ({', '.join(broken)})"
            official = self.recipe.objectives.formulation == "official"
            raise TrainingError(
                f"{where}: {found_out([(names, each) for names, _, each in bad], infinite_ctc_counts=official)}; "
                "the weights are as the last step left them"
            )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the objectives to a log entry of training."""
        if "loss" in logs:
            names = sorted(self._sums)
            totals = torch.stack([self._sums[name] for name in names])
            everywhere = self.accelerator.gather(totals)
            assert isinstance(everywhere, Tensor)
            for name, values in zip(names, everywhere.view(-1, len(names)).T.tolist(), strict=True):
                count = 1 if name == "infinite_ctc" else self._counts[name] * len(values)
                logs[name] = sum(values) / count
            self._sums.clear()
            self._counts.clear()
        super().log(logs, start_time)

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = SELECTED,
    ) -> dict[str, float]:
        """Judge the compared utterances, if any, and then those of the selection split."""
        if eval_dataset is None and self.compared is not None:
            # `evaluate` accepts any dataset of its data loader, but its types allow only `Dataset`.
            super().evaluate(self.compared, ignore_keys, COMPARED)  # pyright: ignore[reportArgumentType]
        return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: Batch,
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, Tensor, Tensor]:
        """Compute the logits of `logits_by_condition` and the labels of a batch, without objectives."""
        inputs = {
            name: value for name, value in inputs.items() if name not in ("utterance_ids", "ctc_labels")
        }
        self._read_texts(inputs)
        inputs = self._prepare_inputs(inputs)
        labels = inputs.pop("labels")
        judged = self.accelerator.unwrap_model(model)
        assert isinstance(judged, MMERForEmotionRecognition)
        with torch.no_grad(), self.accelerator.autocast():
            logits = logits_by_condition(judged, inputs, list(self.conditions))
        return None, logits.float(), labels

    def _judge(self, prediction: EvalPrediction) -> dict[str, float]:
        logits, truth = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        return judge_epoch(logits, truth, self.labels, self.conditions, self.recipe.protocol.metric)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint atomically.

        Raises:
            TrainingError: the checkpoint cannot be written.
        """
        folder = Path(str(self.args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        written = False
        try:
            with writable(folder):
                super()._save_checkpoint(model, trial)
            written = True
        except MMERError as error:
            raise TrainingError(
                f"{error}; make room, and the same command goes on from the last epoch that is saved"
            ) from error
        finally:
            if not written and self.is_world_process_zero():
                shutil.rmtree(folder, ignore_errors=True)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        with reading_checkpoint(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with reading_checkpoint(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with reading_checkpoint(checkpoint):
            super()._load_rng_state(checkpoint)

    def floating_point_ops(self, inputs: Batch) -> int:
        """Return 0: the Trainer's estimate is for language models, and counts all parameters in each step."""
        return 0


@contextmanager
def _no_trace_of_event_writer() -> Iterator[None]:
    """Hide the trace of an error in TensorBoard's thread, which the next event raises again where it is written."""
    before = threading.excepthook

    def told(failure: threading.ExceptHookArgs) -> None:
        if not type(failure.thread).__module__.startswith("tensorboard."):
            before(failure)

    threading.excepthook = told
    try:
        yield
    finally:
        threading.excepthook = before


def _sampler(recipe: Recipe, train: SpeechEmotionDataset) -> EpochSampler:
    contrastive = recipe.objectives.supervised_contrastive_weight > 0
    return EpochSampler(
        recipe.training.order or ("balanced" if contrastive else "shuffled"),
        emotions=[utterance.emotion for utterance in train.utterances],
        speakers=[utterance.speaker for utterance in train.utterances],
        lengths=train.lengths,
        batch_size=recipe.training.batch_size,
        seed=recipe.training.seed,
    )


class _Epochs(TrainerCallback):
    """Callback that sets the epoch of dataset and text cache, and logs at its end, so that no average crosses it.

    accelerate's loader sets the epoch of a dataset only if no sampler takes it.
    """

    def __init__(self, trainer: MMERTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        epoch, dataset = round(state.epoch or 0), self.trainer.train_dataset
        assert isinstance(dataset, SpeechEmotionDataset)
        dataset.set_epoch(epoch)
        if self.trainer.text_cache is not None:
            self.trainer.text_cache.set_epoch(epoch)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        control.should_log = True
