"""Fine-tune the transformer layers of a published network by LoRA, together with its last layer.

Learning has rounds of some optimizer steps. Utterances that are left out, as for the last layer alone, tell after each
round how probable their right labels are. The number of rounds that suits them best is chosen, and the network learns
again from all utterances for as many. With no round at all, the network stays as it was published.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from torch import Tensor, nn
from torch.nn import functional as F

from mmer.errors import CorpusError, TrainingError
from mmer.evaluation.reference_systems import grouped_folds
from mmer.files.damaged import damaged_file
from mmer.files.writing import writing
from mmer.inference.backends.published_network import PublishedNetwork
from mmer.inference.inputs import Utterance
from mmer.inference.reading import Clip, ahead, reading_threads
from mmer.inference.recognizer import EmotionRecognizer
from mmer.model.encoders.trainable import add_lora, merge_lora
from mmer.recipe.model import Lora
from mmer.training.adaptation.last_layer import Floats, LastLayer, linear_layer

FOLDS = 3
"""Parts of the utterances that are left out in turn."""
ROUNDS = 5
BATCH = 8
"""Utterances of an optimizer step."""
EPOCHS, FEWEST_STEPS, MOST_STEPS = 6, 100, 1000
"""What all rounds amount to: so many epochs, but optimizer steps within two bounds."""
RATE, WARMUP = 5e-4, 0.1
"""Peak learning rate, and the share of the steps in which it rises; then it falls to zero along a cosine."""
LARGEST_PART = 480_000
"""Numbers that the network reads at a time while it learns: 30 s of sound at 16 kHz."""

Rows = NDArray[np.int_]


@dataclass(frozen=True)
class FineTuned:
    """What fine-tuning gave.

    Attributes:
        held_out: (utterances, labels) logits of each utterance by a network that did not learn from its group, after as
            many rounds as suited the other groups best; NaN where only one label is left without the group.
        steps: optimizer steps of the chosen rounds; 0 if the network stays as it was published.
        layer: the last layer.
        weights: those that changed, by name in the `model` of the network.
    """

    held_out: Floats
    steps: int
    layer: nn.Linear
    weights: Mapping[str, Tensor]


class FineTuning:
    """Fine-tuning of a published network.

    Args:
        recognizer: with the network, which is changed in place.
        utterances: those of `fit`, in its order.
        fit: the last layer that the network starts from.
        folder: for the state of an interrupted call, from which the same call goes on.

    Raises:
        MissingExtraError: peft is not installed.
        EncoderError: the network has no stack of transformer layers.
    """

    def __init__(
        self, recognizer: EmotionRecognizer, utterances: Sequence[Utterance], fit: LastLayer, folder: Path
    ) -> None:
        self.fit, self.folder = fit, folder
        self.learner = _Learner(recognizer, utterances)
        steps = min(max(FEWEST_STEPS, EPOCHS * len(utterances) // BATCH), MOST_STEPS)
        self.round_steps = steps // ROUNDS
        self.folds = list(grouped_folds(fit.classes, fit.groups, FOLDS))
        self.most_steps = (len(self.folds) + 1) * ROUNDS * self.round_steps
        """Optimizer steps of each fold and of learning from all utterances."""

    def run(self, progress: Callable[[int], None]) -> FineTuned:
        """Choose the number of rounds, and fine-tune on all utterances.

        Args:
            progress: called with the number of optimizer steps done so far, of `most_steps`.

        Raises:
            CorpusError: a recording can no longer be read.
            TrainingError: the network computes what is no number.
            CheckpointError: the state of an interrupted call is damaged.
        """
        self.folder.mkdir(exist_ok=True)
        rows = np.arange(len(self.fit.inputs))
        logits = np.full((ROUNDS + 1, len(rows), len(self.fit.start)), np.nan)
        losses = np.zeros((len(self.folds), ROUNDS + 1))
        for fold, (kept, left) in enumerate(self.folds):
            logits[:, left] = self._rounds(fold, kept, left, ROUNDS, progress)
            right = log_softmax(logits[:, left], axis=2)[:, np.arange(len(left)), self.fit.classes[left]]
            losses[fold] = -right.mean(axis=1)
        held_out = logits[0].copy()
        for fold, (_, left) in enumerate(self.folds):
            others = np.delete(losses, fold, axis=0)
            held_out[left] = logits[_best(others), left]
        rounds = _best(losses)
        self._rounds(len(self.folds), rows, rows[:0], rounds, progress)
        tuned = FineTuned(held_out, rounds * self.round_steps, self.learner.layer, self.learner.merged())
        shutil.rmtree(self.folder)
        return tuned

    def _rounds(
        self, part: int, kept: Rows, left: Rows, rounds: int, progress: Callable[[int], None]
    ) -> Floats:
        """Learn from some utterances, and answer others before the first round and after each.

        Args:
            part: number of the fold, or the number of folds for all utterances.
            kept, left: what is learned from, and what is answered.
            rounds: number of rounds.
            progress: as for `run`.

        Returns:
            (rounds + 1, utterances of `left`, labels) logits.
        """
        learner, file = self.learner, self.folder / f"{part}.pt"
        learner.start(self.fit, kept, seed=part)
        if file.exists():
            with damaged_file(file, "remove it, and the same call goes on without it"):
                logits = learner.load(file)
        else:
            logits = [learner.logits(left)]
        for number in range(len(logits), rounds + 1):
            before = (number - 1) * self.round_steps
            order = _draws(kept, self.round_steps * BATCH, seed=(part, number))
            with reading_threads() as readers:
                clips = ahead(readers, learner.read, order, 2 * BATCH)
                for step in range(before, before + self.round_steps):
                    learner.step(list(islice(clips, BATCH)), _rate(step, ROUNDS * self.round_steps))
                    progress(part * ROUNDS * self.round_steps + step + 1)
            logits.append(learner.logits(left))
            learner.save(file, logits)
        return torch.stack(logits).double().numpy()


class _Learner:
    """A published network with low-rank weights and a last layer, which learn.

    It computes as it answers, without dropout.
    """

    def __init__(self, recognizer: EmotionRecognizer, utterances: Sequence[Utterance]) -> None:
        assert isinstance(recognizer.network, PublishedNetwork)
        self.recognizer, self.utterances = recognizer, utterances
        self.network: Any = recognizer.network.model
        self.device = recognizer.network.device
        self.network.requires_grad_(False)
        add_lora(self.network.model, Lora().model_dump())
        self.network.to(self.device).eval()
        self.lora = [weight for weight in self.network.parameters() if weight.requires_grad]

    def start(self, fit: LastLayer, rows: Rows, seed: int) -> None:
        """Forget what was learned: low-rank weights that change nothing, and the last layer fitted to utterances."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for module in self._adapted().values():
                module.reset_lora_parameters("default", init_lora_weights=True)
        self.classes = fit.classes
        self.layer = linear_layer(self.network.output, fit.fit(rows, fit.choose(rows))).to(self.device)
        self.optimizer = torch.optim.AdamW([*self.lora, *self.layer.parameters()], weight_decay=0.0)

    def read(self, row: int) -> tuple[Clip, int]:
        """Read an utterance, and return it with the number of its label."""
        clip = self.recognizer.read(self.utterances[row])
        if clip.prediction.error is not None:
            raise CorpusError(clip.prediction.error)
        return clip, int(self.classes[row])

    def step(self, batch: Sequence[tuple[Clip, int]], rate: float) -> None:
        """Take an optimizer step on the cross-entropy of some utterances.

        Raises:
            TrainingError: it is no number.
        """
        self.optimizer.zero_grad()
        for part in _parts(batch):
            right = torch.tensor([label for _, label in part], device=self.device)
            loss = F.cross_entropy(self._compute(part), right, reduction="sum") / len(batch)
            if not loss.isfinite():
                raise TrainingError(
                    "the network computes what is no number while it is fine-tuned; set model.speech.train, or "
                    "model.text.train of a model that reads, to frozen, so that only the last layer learns"
                )
            loss.backward()
        nn.utils.clip_grad_norm_([*self.lora, *self.layer.parameters()], 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()

    @torch.no_grad()
    def logits(self, rows: Rows) -> Tensor:
        """Compute (utterances, labels) logits."""
        computed = torch.zeros(len(rows), self.layer.out_features)
        with reading_threads() as readers:
            clips = ahead(readers, self.read, rows.tolist(), 2 * BATCH)
            for start in range(0, len(rows), BATCH):
                batch = [(clip, place) for place, (clip, _) in enumerate(islice(clips, BATCH), start)]
                for part in _parts(batch):
                    computed[[place for _, place in part]] = self._compute(part).cpu()
        return computed

    def _compute(self, part: Sequence[tuple[Clip, int]]) -> Tensor:
        clips = [clip for clip, _ in part]
        processor = self.recognizer.processor
        inputs = processor.collate(
            [clip.features for clip in clips] if processor.uses_speech else None,
            [clip.prediction.transcript for clip in clips],
        )
        inputs = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        return self.layer(self.network(inputs)[1])

    def save(self, file: Path, logits: Sequence[Tensor]) -> None:
        """Write what was learned, beside the logits that were computed."""
        state = {
            "logits": list(logits),
            "lora": [weight.detach() for weight in self.lora],
            "layer": self.layer.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with writing(file) as part:
            torch.save(state, part)

    @torch.no_grad()
    def load(self, file: Path) -> list[Tensor]:
        """Go on from what `save` wrote; returns the logits."""
        state = torch.load(file, map_location=self.device, weights_only=True)
        for weight, learned in zip(self.lora, state["lora"], strict=True):
            weight.copy_(learned)
        self.layer.load_state_dict(state["layer"])
        self.optimizer.load_state_dict(state["optimizer"])
        return [each.cpu() for each in state["logits"]]

    def merged(self) -> dict[str, Tensor]:
        """Add the low-rank weights to those of their layers, and return the sums by name."""
        names = list(self._adapted())
        merge_lora(self.network.model)
        linear = {name: self.network.model.get_submodule(name) for name in names}
        return {f"{name}.weight": module.weight.detach().cpu() for name, module in linear.items()}

    def _adapted(self) -> dict[str, Any]:
        """Find the linear layers with low-rank weights, by name in the `model` of the network."""
        from peft.tuners.lora import LoraLayer

        modules = self.network.model.named_modules()
        return {name: module for name, module in modules if isinstance(module, LoraLayer)}


def _best(losses: Floats) -> int:
    """Return the number of rounds with the lowest mean of (folds, rounds + 1) losses; 0 without folds."""
    return int(np.nan_to_num(losses.mean(axis=0), nan=np.inf).argmin()) if len(losses) else 0


def _rate(step: int, steps: int) -> float:
    """Return the learning rate of a step from 0."""
    rising = WARMUP * steps
    return RATE * (
        (step + 1) / rising if step < rising else (1 + cos(pi * (step - rising) / (steps - rising))) / 2
    )


def _draws(rows: Rows, number: int, seed: tuple[int, int]) -> list[int]:
    """Shuffle utterances as often as it takes to draw so many."""
    generator = np.random.default_rng(seed)
    times = -(-number // len(rows))
    return np.concatenate([generator.permutation(rows) for _ in range(times)])[:number].tolist()


def _parts(batch: Sequence[tuple[Clip, int]]) -> Iterator[Sequence[tuple[Clip, int]]]:
    """Split a batch into parts that padding makes no larger than `LARGEST_PART`, or of one utterance."""
    part: list[tuple[Clip, int]] = []
    for clip, number in sorted(batch, key=lambda each: _size(each[0])):
        if part and (len(part) + 1) * _size(clip) > LARGEST_PART:
            yield part
            part = []
        part.append((clip, number))
    yield part


def _size(clip: Clip) -> int:
    return 0 if clip.features is None else clip.features.size
