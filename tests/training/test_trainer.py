import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import SERVER
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerState, set_seed
from transformers.training_args import ParallelMode

from mmer.errors import RecipeError, TrainingError
from mmer.evaluation.plots import NAMES
from mmer.model.build import build_model
from mmer.model.dropout import Dropout
from mmer.model.gpu_settings import tf32
from mmer.recipe.schema import Recipe
from mmer.training.arguments import (
    OneDeviceArguments,
    devices_told,
    loading_processes,
    training_arguments,
)
from mmer.training.data.dataset import Collator, FeatureStore, SpeechEmotionDataset
from mmer.training.data.preparation import prepare
from mmer.training.selection import CHOICE, judge_epoch, out_of_patience, trained_conditions
from mmer.training.trainer import SIMILAR, MMERTrainer

STILL = [
    "model.dropout=0",
    "model.speech.compact.dropout=0",
    "model.text.compact.dropout=0",
    "training.epochs=1",
    "training.batch_size=6",
]


@pytest.fixture
def make_trainer(tiny, tmp_path: Path) -> Callable[..., MMERTrainer]:
    def make(
        *overrides: str, name: str = "run", callbacks: list[TrainerCallback] | None = None
    ) -> MMERTrainer:
        recipe: Recipe = tiny(*overrides)
        preparation = prepare(recipe)
        set_seed(recipe.training.seed)
        model, processor = build_model(recipe, preparation.part("train"), preparation.labels)
        store = FeatureStore(processor)
        train, selection = (
            SpeechEmotionDataset(preparation.part(split), store, recipe, training=split == "train")
            for split in ("train", "validation")
        )
        return MMERTrainer(
            model, recipe, train, selection, Collator(processor), tmp_path / name, callbacks or []
        )

    return make


def unwrapped(trainer: MMERTrainer) -> torch.nn.Module:
    assert isinstance(trainer.model, torch.nn.Module)
    return trainer.model


def weights(trainer: MMERTrainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in unwrapped(trainer).state_dict().items()}


def logged(trainer: MMERTrainer, key: str) -> list[float]:
    return [log[key] for log in trainer.state.log_history if key in log]


class Losses(TrainerCallback):
    """Notes the batches of each step by looking over the collator's shoulder."""

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []

    def watch(self, trainer: MMERTrainer) -> None:
        collate = trainer.data_collator

        def noted(items: Any) -> Any:
            batch = collate(items)
            self.batches.append(batch)
            return dict(batch)

        trainer.data_collator = noted


def test_logs_average_every_objective_over_the_window(make_trainer):
    trainer = make_trainer(*STILL, "training.learning_rate=1e-12", "training.batch_size=5")
    trainer.args.logging_steps = trainer.state.logging_steps = (
        10  # one window of 4 steps, closed by the epoch's end
    )
    watcher = Losses()
    watcher.watch(trainer)
    trainer.train()
    training = [batch for batch in watcher.batches if "augmented_input_ids" in batch]
    assert [len(batch["utterance_ids"]) for batch in training] == [5, 5, 5, 3]
    trainer.model.train()
    expected: dict[str, list[float]] = {name: [] for name in NAMES}
    infinite = 0
    with torch.no_grad():
        for batch in training:
            output = trainer.model(**{key: value for key, value in batch.items() if key != "utterance_ids"})
            for name in NAMES:
                expected[name].append(output.objectives[name].item())
            infinite += output.infinite_ctc.item()
    for name, values in expected.items():
        assert logged(trainer, name) == [pytest.approx(sum(values) / len(values), rel=1e-4)]
    assert logged(trainer, "infinite_ctc") == [infinite]


def test_infinite_ctc_is_counted(make_trainer):
    counts = []
    for spoiled in (0, 3):
        trainer = make_trainer(*STILL, name=f"run{spoiled}")
        for utterance in trainer.train_dataset.utterances:
            object.__setattr__(utterance, "transcript", "no")
        for utterance in trainer.train_dataset.utterances[:spoiled]:
            object.__setattr__(utterance, "transcript", "a very long text " * 20)
        trainer.train()
        counts.append(sum(logged(trainer, "infinite_ctc")))
        assert all(math.isfinite(value) for value in logged(trainer, "ctc"))
    assert counts == [0, 3]


def test_order_and_views_change_with_the_epoch(make_trainer):
    changes = ("augment.speech.probability=1", "augment.speech.time_stretch=[0.9, 1.1]")
    trainer = make_trainer(*STILL, "training.epochs=3", *changes)
    watcher = Losses()
    watcher.watch(trainer)
    trainer.train()
    training = [batch for batch in watcher.batches if "augmented_input_ids" in batch]
    orders = [[name for batch in training[i : i + 3] for name in batch["utterance_ids"]] for i in (0, 3, 6)]
    assert len({tuple(order) for order in orders}) == 3
    assert len({frozenset(order) for order in orders}) == 1
    longest = orders[0][-1]
    lengths = [
        batch["augmented_speech_attention_mask"][batch["utterance_ids"].index(longest)].sum().item()
        for batch in training
        if longest in batch["utterance_ids"]
    ]
    assert len(set(lengths)) > 1


def test_accumulated_gradient_is_that_of_the_whole_batch(make_trainer):
    plain = ["objectives={ctc_weight: 0, supervised_contrastive_weight: 0, augmented_contrastive_weight: 0}"]
    norms = []
    for size, accumulation in ((6, 1), (3, 2)):
        shape = [f"training.batch_size={size}", f"training.accumulation={accumulation}"]
        settings = [
            "training.max_grad_norm=1e9",
            "training.order=shuffled",
            "training.learning_rate=1e-12",
        ]
        trainer = make_trainer(*STILL, *plain, *shape, *settings, name=f"run{size}")
        trainer.train()
        norms.append(logged(trainer, "grad_norm"))
    assert len(norms[0]) == 3
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_a_batch_in_parts_trains_as_the_batch_in_one_piece(make_trainer):
    """All four objectives; the contrastive ones compare the whole batch either way."""
    trained = []
    for parts in (1, 3):
        shape = [
            "training.batch_size=6",
            f"training.micro_batch_size={6 // parts}",
            "training.accumulation=2",
        ]
        trainer = make_trainer(*STILL, *shape, "training.max_grad_norm=1e9", name=f"parts{parts}")
        trainer.train()
        trained.append({key: logged(trainer, key) for key in ("grad_norm", "loss", *NAMES)})
    for key, values in trained[0].items():
        assert values
        assert values == pytest.approx(trained[1][key], rel=1e-3), key


@pytest.mark.parametrize(
    ("settings", "silent"),
    [
        (["objectives.label_smoothing=0.1"], 0),
        (["augment.missing={speech: 0.7, text: 0.1}"], SIMILAR),  # no utterance of the first part has sound
        (
            [
                "model.fusion=speech",
                "model.speech.compact.functionals=true",
                "model.pooling=attentive-statistics",
            ],
            0,
        ),
    ],
)
def test_parts_of_similar_length_have_the_loss_and_the_gradient_of_the_whole_batch(
    make_trainer, settings: list[str], silent: int
):
    trainer = make_trainer(*STILL, "training.batch_size=18", *settings)
    batch = next(iter(trainer.get_train_dataloader()))
    del batch["utterance_ids"]
    lengths = batch["augmented_speech_attention_mask"].sum(dim=1)
    assert len(lengths) > 2 * SIMILAR
    assert lengths[:SIMILAR].max() < lengths.max()
    assert (lengths == 0).sum() >= silent
    model = unwrapped(trainer)
    model.train()
    found = []
    for loss in (model(**batch).loss, trainer.compute_loss(model, batch)):
        model.zero_grad()
        loss.backward()
        gradients = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
        found.append((loss.detach(), gradients))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("error::FutureWarning")
def test_recomputing_trains_to_the_same_weights(make_trainer):
    """Dropout on; the arguments of the trainer are written to TensorBoard and to the checkpoint."""
    trained = []
    for recompute in ("none", "cheap", "layers"):
        trainer = make_trainer(
            "training.epochs=1", f"training.activation_checkpointing={recompute}", name=recompute
        )
        trainer.train()
        trained.append(weights(trainer))
    for name, weight in trained[0].items():
        for other in trained[1:]:
            torch.testing.assert_close(other[name], weight)


def test_weight_decay_spares_biases_and_norms(make_trainer):
    trainer = make_trainer("training.weight_decay=0.5")
    trainer.create_optimizer()
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    groups = {
        group["weight_decay"]: {names[id(parameter)] for parameter in group["params"]}
        for group in trainer.optimizer.param_groups
    }
    assert set(groups) == {0.5, 0.0}
    assert "classifier.weight" in groups[0.5]
    assert "classifier.bias" in groups[0.0]
    assert not any(name.endswith(".bias") or "norm" in name.lower() for name in groups[0.5])


@pytest.mark.parametrize("accumulation", [1, 3])
def test_non_finite_loss_stops_before_the_weights_move(make_trainer, accumulation: int):
    # The published CTC loss is infinite for a text that is too long for its recording.
    official = "objectives.formulation=official"
    trainer = make_trainer(*STILL, official, f"training.accumulation={accumulation}", "training.batch_size=2")
    dataset = trainer.train_dataset
    for utterance in dataset.utterances:
        object.__setattr__(utterance, "transcript", "no")
    # The first step in which the spoiled utterance is drawn must not happen, and those before it must.
    order = list(iter(trainer._get_train_sampler()))
    position = 4
    object.__setattr__(dataset.utterances[order[position]], "transcript", "a very long text " * 20)
    seen: list[dict[str, torch.Tensor]] = []

    class Keep(TrainerCallback):
        def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
            seen.append(weights(trainer))

    trainer.add_callback(Keep())
    with pytest.raises(TrainingError) as caught:
        trainer.train()
    message = str(caught.value)
    steps = position // (2 * accumulation)
    culprit = dataset.utterances[order[position]].utterance_id
    assert message.startswith(
        f"the loss is not finite in step {steps + 1} (ctc): utterance {culprit}: the transcript has more characters "
        "than the encoder makes frames of the sound, so that no CTC alignment exists; "
    )
    assert len(seen) == steps
    assert all(value.isfinite().all() for value in trainer.model.state_dict().values())
    if seen:
        assert all(torch.equal(value, seen[-1][name]) for name, value in trainer.model.state_dict().items())


@pytest.mark.parametrize("micro", ["null", "1"])
def test_an_answer_that_is_not_a_number_names_its_utterance(make_trainer, micro: str):
    trainer = make_trainer(*STILL, f"training.micro_batch_size={micro}")
    dataset = trainer.train_dataset
    spoiled = dataset.utterances[7].utterance_id

    def spoil(items: Any) -> dict[str, Any]:
        batch = collate(items)
        place = batch["utterance_ids"].index(spoiled) if spoiled in batch["utterance_ids"] else None
        if place is not None:
            batch["input_features"][place] = math.nan
        return batch

    collate, trainer.data_collator = trainer.data_collator, spoil
    with pytest.raises(
        TrainingError, match=f": utterance {spoiled}: the network's answer is not a number; look at"
    ):
        trainer.train()


def test_a_loss_that_no_single_utterance_spoils_names_the_batch(make_trainer):
    trainer = make_trainer(*STILL)
    with torch.no_grad():
        trainer.model.classifier.bias.fill_(math.inf)
    with pytest.raises(
        TrainingError, match=r"no single utterance is the cause among utterances \S+, .* and 1 more;"
    ):
        trainer.train()


def test_masks_are_drawn_quickly(make_trainer):
    trainer = make_trainer()
    kinds = {type(each) for each in unwrapped(trainer).modules() if isinstance(each, torch.nn.Dropout)}
    assert kinds == {Dropout}


def test_workers_change_nothing(make_trainer):
    results = []
    for workers in (0, 2):
        trainer = make_trainer(f"training.workers={workers}", "training.epochs=2", name=f"run{workers}")
        trainer.train()
        results.append(weights(trainer))
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


def test_workers_may_be_spawned(make_trainer):
    """As on Windows and macOS, where a worker gets a copy and not the memory of this process.

    The fork server gives it the same copy, and has imported the packages already.
    """
    trainer = make_trainer("training.epochs=1")
    dataset, collate = trainer.train_dataset, trainer.data_collator
    loaders = [
        DataLoader(dataset, 6, collate_fn=collate, num_workers=number, multiprocessing_context=how)
        for number, how in ((0, None), (1, SERVER))
    ]
    trainer.train_dataset.set_epoch(2)
    for expected, found in zip(*loaders, strict=True):
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert (
                torch.equal(value, found[name]) if isinstance(value, torch.Tensor) else value == found[name]
            )


def test_processes_that_load_follow_the_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.setattr("multiprocessing.get_start_method", lambda: "fork")
    assert loading_processes(7, gpu=False) == 7
    assert loading_processes(0, gpu=True) == 0
    assert loading_processes(None, gpu=False) == 0
    assert loading_processes(None, gpu=True) == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert loading_processes(None, gpu=True) == 1
    monkeypatch.setattr("multiprocessing.get_start_method", lambda: "spawn")
    assert loading_processes(None, gpu=True) == 0


def test_several_gpus_are_never_used_by_one_process(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    arguments = training_arguments(tiny(), tmp_path, 36)
    arguments._n_gpu = 4  # what the Trainer's own find where four are visible
    assert isinstance(arguments, OneDeviceArguments)
    assert super(OneDeviceArguments, arguments).n_gpu == 4
    assert arguments.n_gpu == 1
    assert arguments.train_batch_size == 6
    assert arguments.parallel_mode is ParallelMode.NOT_PARALLEL


def test_slow_half_precision_is_said(tiny):
    slow = torch.backends.cpu.get_cpu_capability() == "AVX2"
    told = devices_told(tiny("training.precision=bfloat16"))
    assert ["no AVX-512" in line for line in told] == [True] * slow


def test_what_is_said_of_gpus(tiny, monkeypatch: pytest.MonkeyPatch):
    assert devices_told(tiny()) == []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "GPU")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    several = "one of 2 GPUs is used; start the command with torchrun --nproc-per-node 2 -m to use all"
    assert devices_told(tiny()) == [
        "GPU: float32 in TF32; training.tf32=false for full float32",
        several,
    ]
    assert devices_told(tiny("training.tf32=false"))[0] == "GPU: full float32"
    assert devices_told(tiny("training.precision=bfloat16")) == [several]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert several not in devices_told(tiny())
    before = torch.get_float32_matmul_precision()
    with tf32(True):
        assert torch.get_float32_matmul_precision() == "high"
    with tf32(False):
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == before
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), None]
)
def test_too_little_memory_is_one_line_with_the_way_out(make_trainer, error: Exception | None):
    trainer = make_trainer("training.epochs=1")

    def forward(*_: Any, **named: Any) -> None:
        if error is not None:  # what a GPU raises
            raise error
        torch.empty(1 << 60)  # what the CPU raises

    trainer.model.forward = forward
    with pytest.raises(TrainingError) as told:
        trainer.train()
    assert str(told.value) == (
        "this machine has not enough memory for 6 utterances at a time in step 1; set training.micro_batch_size=3, "
        "which changes no gradient, training.activation_checkpointing=cheap, data.crop_duration to cut "
        "the longest utterances"
    )


def test_bfloat16_on_cpu(make_trainer):
    trainer = make_trainer("training.precision=bfloat16", "training.epochs=1")
    before = weights(trainer)
    trainer.train()
    assert all(value.dtype == before[name].dtype for name, value in weights(trainer).items())
    assert any(not torch.equal(value, before[name]) for name, value in weights(trainer).items())
    assert all(math.isfinite(value) for name in NAMES for value in logged(trainer, name))
    reference = make_trainer("training.epochs=1", name="float32")
    reference.train()
    assert logged(trainer, "cross_entropy")[0] != logged(reference, "cross_entropy")[0]
    assert logged(trainer, "cross_entropy")[0] == pytest.approx(
        logged(reference, "cross_entropy")[0], rel=0.02
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU for float16")
def test_float16_needs_a_gpu(make_trainer):
    with pytest.raises(RecipeError, match="float16, which needs a CUDA GPU"):
        make_trainer("training.precision=float16")


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.0, 5e-4, 1e-3, 1e-3, 1e-3, 1e-3]),
        ("linear", [0.0, 5e-4, 1e-3, 7.5e-4, 5e-4, 2.5e-4]),
        ("cosine", [0.0, 5e-4] + [5e-4 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]),
    ],
)
def test_learning_rate(make_trainer, schedule: str, expected: list[float]):
    shape = "training={epochs: 2, batch_size: 6, learning_rate: 1e-3, warmup_ratio: 0.33}"
    trainer = make_trainer(shape, f"training.schedule={schedule}")
    trainer.train()
    assert logged(trainer, "learning_rate") == pytest.approx(expected)


def test_a_tie_goes_to_the_epoch_that_is_surest_of_the_truth():
    truth = np.array([0, 1, 2, 2])

    def choice(right: int, sureness: float) -> float:
        logits = sureness * np.eye(3)[np.where(np.arange(4) < right, truth, (truth + 1) % 3)]
        return judge_epoch(logits[:, None], truth, ["a", "b", "c"], {"both": 1.0})[CHOICE]

    assert choice(3, 2.0) > choice(3, 1.0)
    assert choice(4, 0.1) > choice(3, 0.1)
    assert choice(4, 0.1) > choice(3, 1.0)


def test_the_best_epoch_does_without_a_side_as_often_as_training(tiny):
    conditions = trained_conditions(tiny("augment.missing={speech: 0.1, text: 0.6}"))
    assert conditions == pytest.approx({"both": 0.3, "speech": 0.6, "text": 0.1})
    assert trained_conditions(tiny("augment.missing.text=0.6")) == pytest.approx({"both": 0.4, "speech": 0.6})
    assert trained_conditions(tiny("model.missing_modality_embeddings=true")) == {"both": 1.0}
    assert trained_conditions(tiny("augment.missing.text=0.6", "model.fusion=speech")) == {"both": 1.0}
    truth = np.array([0, 1, 2, 2])
    answers = [np.array([0, 1, 2, 2]), np.array([0, 1, 0, 2]), np.array([0, 0, 0, 0])]
    logits = np.stack([5.0 * np.eye(3)[each] for each in answers], axis=1)
    found = judge_epoch(logits, truth, ["a", "b", "c"], conditions)
    scores = [found[f"balanced_accuracy{side}"] for side in ("", "_speech", "_text")]
    assert scores == pytest.approx([1, (1 + 1 + 1 / 2) / 3, 1 / 3])
    assert found[CHOICE] == pytest.approx(0.3 + 0.6 * 2.5 / 3 + 0.1 / 3, abs=1e-6)


def test_patience():
    def state(*scores: float) -> TrainerState:
        return TrainerState(log_history=[{f"eval_{CHOICE}": score, "epoch": 1.0} for score in scores])

    assert not out_of_patience(state(), 1)
    assert not out_of_patience(state(0.5, 0.4, 0.3), None)
    assert not out_of_patience(state(0.5, 0.4), 2)
    assert out_of_patience(state(0.5, 0.4, 0.5), 2)  # an equal score is no better one
    assert not out_of_patience(state(0.5, 0.4, 0.6), 2)


def test_training_stops_when_patience_ends(make_trainer):
    trainer = make_trainer("training.epochs=9", "training.patience=2", "training.learning_rate=1e-12")
    trainer.train()
    assert trainer.state.epoch == 3
