"""The cache of a frozen text encoder: exact, bounded, safe against kills and other encoders, resumed bit for bit."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from tiny import text_config, text_inputs
from torch import Tensor
from transformers import set_seed

from mmer.model.build import build_model
from mmer.model.encoders.text import TextEncoder
from mmer.recipe.schema import Recipe
from mmer.training.data.dataset import Collator, FeatureStore, SpeechEmotionDataset
from mmer.training.data.preparation import prepare
from mmer.training.data.text_cache import KeyedCollator, TextCache, text_keys
from mmer.training.run import TrainingRun, train
from mmer.training.trainer import MMERTrainer

TOKENS = [4, 7, 1, 5, 7]
SIZE = 24
TEXTS = sum(TOKENS) * SIZE * 4  # bytes of the hidden states of `inputs`


def encoder(seed: int = 0) -> TextEncoder:
    torch.manual_seed(seed)
    return TextEncoder(text_config(SIZE), train="frozen").eval()


def inputs(seed: int = 0) -> dict[str, Any]:
    """A batch as the trainer has it."""
    batch: dict[str, Any] = text_inputs(TOKENS, seed)
    return batch | {"text_keys": text_keys(batch["input_ids"], batch["text_attention_mask"])}


def counted(reader: TextEncoder) -> list[int]:
    """How many texts each call of the encoder reads, from now on."""
    calls: list[int] = []
    reader.model.register_forward_hook(
        lambda _module, _inputs, output: calls.append(len(output.last_hidden_state))
    )
    return calls


def states(cache: TextCache, batch: dict[str, Any]) -> Tensor:
    batch = dict(batch)
    cache.complete(batch)
    assert set(batch) == {"text_attention_mask", "text_hidden_states"}
    return batch["text_hidden_states"]


def expected(reader: TextEncoder, batch: dict[str, Any]) -> Tensor:
    """Each text encoded alone."""
    whole = torch.zeros(*batch["input_ids"].shape, SIZE)
    with torch.no_grad():
        for row, count in enumerate(TOKENS):
            ids = batch["input_ids"][row : row + 1, :count]
            whole[row, :count] = reader(ids, torch.ones_like(ids))[0]
    return whole


def test_a_text_is_encoded_once_and_its_states_are_those_of_the_encoder(tmp_path: Path) -> None:
    reader = encoder()
    cache = TextCache(tmp_path, reader, 1e9)
    truth = [expected(reader, inputs(seed)) for seed in (0, 1)]
    calls = counted(reader)
    first = states(cache, inputs(0))
    torch.testing.assert_close(first, truth[0], atol=1e-6, rtol=0)
    assert torch.equal(states(cache, inputs(0)), first)
    mixed = {name: [*value[:2], *inputs(0)[name][2:]] for name, value in inputs(1).items()}
    mixed = {name: value if name == "text_keys" else torch.stack(value) for name, value in mixed.items()}
    found = states(cache, mixed)
    torch.testing.assert_close(found, torch.cat([truth[1][:2], truth[0][2:]]), atol=1e-6, rtol=0)
    assert torch.equal(found[2:], first[2:])
    assert calls == [5, 2]
    again = TextCache(tmp_path, reader, 1e9)
    assert len(again) == 7
    assert torch.equal(states(again, mixed), found)
    assert calls == [5, 2]


def test_a_text_is_its_token_ids_without_padding() -> None:
    ids = torch.tensor([[5, 6, 1], [5, 6, 7], [5, 6, 0]])
    keys = text_keys(ids, torch.tensor([[1, 1, 0], [1, 1, 1], [1, 1, 0]]))
    assert keys[0] == keys[2] != keys[1]
    assert [count for _, count in keys] == [2, 3, 2]


def test_missing_texts_and_texts_said_twice(tmp_path: Path) -> None:
    reader = encoder()
    batch = inputs()
    for name in ("input_ids", "text_attention_mask"):
        batch[name][3] = batch[name][0]
    batch["text_attention_mask"][1] = 0
    batch["text_keys"] = text_keys(batch["input_ids"], batch["text_attention_mask"])
    cache, calls = TextCache(tmp_path, reader, 1e9), counted(reader)
    found = states(cache, batch)
    assert not found[1].any()
    assert torch.equal(found[0], found[3])
    assert (len(cache), calls) == (3, [3])


@pytest.mark.parametrize("kept", [False, True])
def test_the_second_view_is_looked_up_and_kept_if_it_will_be_met_again(tmp_path: Path, kept: bool) -> None:
    reader = encoder()
    cache, calls = TextCache(tmp_path, reader, 1e9, keep_second_view=kept), counted(reader)

    def both(second: int) -> dict[str, Any]:
        view = {f"augmented_{name}": value for name, value in inputs(second).items()}
        batch = inputs(0) | view
        cache.complete(batch)
        return batch

    other = both(1)["augmented_text_hidden_states"]
    torch.testing.assert_close(other, expected(reader, inputs(1)), atol=1e-6, rtol=0)
    calls.clear()
    same = both(0)
    assert torch.equal(same["augmented_text_hidden_states"], same["text_hidden_states"])
    assert (len(cache), calls) == (10 if kept else 5, [])


@pytest.mark.parametrize("limit", [0, 1, TEXTS // 2, TEXTS - 1, TEXTS])
def test_it_stops_growing_and_stays_right(tmp_path: Path, limit: int) -> None:
    reader = encoder()
    cache = TextCache(tmp_path, reader, limit)
    truth = expected(reader, inputs())
    for _ in range(3):
        torch.testing.assert_close(states(cache, inputs()), truth, atol=1e-6, rtol=0)
    states(cache, inputs(1))
    size = (cache.folder / "states.bin").stat().st_size
    assert size <= limit
    assert (len(cache) == 5) == (limit == TEXTS)
    assert len(cache) > 0 or limit < TEXTS // 2


def test_another_encoder_has_another_cache(tmp_path: Path) -> None:
    one, same, other = encoder(0), encoder(0), encoder(0)
    with torch.no_grad():
        next(iter(other.parameters()))[3, 2] += 1e-3
    states(TextCache(tmp_path, one, 1e9), inputs())
    assert len(TextCache(tmp_path, same, 1e9)) == 5
    assert len(TextCache(tmp_path, other, 1e9)) == 0
    assert len(TextCache(tmp_path, one, 1e9, precision="bfloat16")) == 0
    assert len(TextCache(tmp_path, one, 1e9, process=1)) == 0
    deeper = encoder(0)
    deeper.model.config.layer_norm_eps = 1e-3
    assert len(TextCache(tmp_path, deeper, 1e9)) == 0


@pytest.mark.parametrize("name", ["states.bin", "index.bin"])
def test_whatever_a_kill_leaves_is_right_or_cut_off(tmp_path: Path, name: str) -> None:
    """A file cut anywhere, or with a damaged byte, gives only true states, and is filled again."""
    reader = encoder()
    original = TextCache(tmp_path, reader, 1e9)
    truth = states(original, inputs())
    whole = {path.name: path.read_bytes() for path in original.folder.iterdir()}
    content = whole[name]
    damaged = [content[:size] for size in range(0, len(content), max(1, len(content) // 40))]
    for place in range(0, len(content), len(content) // 10):
        damaged.append(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
    lengths = set()
    for broken in damaged:
        for path, saved in whole.items():
            (original.folder / path).write_bytes(saved)
        (original.folder / name).write_bytes(broken)
        cache = TextCache(tmp_path, reader, 1e9)
        lengths.add(len(cache))
        for _ in range(2):
            torch.testing.assert_close(states(cache, inputs()), truth, atol=1e-6, rtol=0)
        assert len(TextCache(tmp_path, reader, 1e9)) >= 5
    assert min(lengths) == 0
    assert max(lengths) >= 4


def test_an_epoch_begun_again_finds_what_it_found_before(tmp_path: Path) -> None:
    reader = encoder()
    cache = TextCache(tmp_path, reader, 1e9)
    cache.set_epoch(0)
    states(cache, inputs(0))
    cache.set_epoch(1)
    assert len(cache) == 5
    states(cache, inputs(1))
    assert len(cache) == 10
    resumed = TextCache(tmp_path, reader, 1e9)
    resumed.set_epoch(1)
    calls = counted(reader)
    states(resumed, inputs(0))
    states(resumed, inputs(1))
    assert (len(resumed), calls) == (10, [5])


STILL = ["model.dropout=0", "model.speech.compact.dropout=0", "training.epochs=2", "training.batch_size=5"]
MakeTrainer = Callable[..., MMERTrainer]


@pytest.fixture
def frozen(tiny, reader: Path) -> Callable[..., Recipe]:
    def make(*overrides: str) -> Recipe:
        settings = [f"model.text.encoder={reader}", "model.text.train=frozen", "augment.speech.probability=0"]
        return tiny(*settings, *overrides)

    return make


@pytest.fixture
def make_trainer(frozen, tmp_path: Path) -> MakeTrainer:
    def make(name: str, *overrides: str) -> MMERTrainer:
        recipe = frozen(*STILL, *overrides)
        preparation = prepare(recipe)
        set_seed(recipe.training.seed)
        model, processor = build_model(recipe, preparation.part("train"), preparation.labels)
        store = FeatureStore(processor)
        data, judged = (
            SpeechEmotionDataset(preparation.part(split), store, recipe, training=split == "train")
            for split in ("train", "validation")
        )
        return MMERTrainer(model, recipe, data, judged, Collator(processor), tmp_path / name, [])

    return make


def weights(trainer: MMERTrainer) -> dict[str, Tensor]:
    assert isinstance(trainer.model, torch.nn.Module)
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


@pytest.mark.parametrize(
    "overrides", [["augment.missing.text=0.4"], ["training.micro_batch_size=2", "training.accumulation=2"]]
)
def test_training_with_the_cache_is_training_without_it(make_trainer, overrides: list[str]) -> None:
    """Both views, whose words change; judged after each epoch.

    A text encoded among others is the same text up to rounding, since padding and the size of a product change the
    order of its sums: what is looked up differs by some 1e-7. AdamW divides by the gradient's own size, so where a
    gradient is no more than noise, its sign decides: one weight in a hundred may be off by a step of 3e-3, no more.
    """
    trained = []
    for gigabytes in (0, 1):
        trainer = make_trainer(f"run{gigabytes}", *overrides, f"training.text_cache_gb={gigabytes}")
        assert (trainer.text_cache is None) == (gigabytes == 0)
        trainer.train()
        trained.append((weights(trainer), trainer.state.log_history))
    differences = torch.cat(
        [(value - trained[1][0][name]).abs().flatten() for name, value in trained[0][0].items()]
    )
    assert differences.quantile(0.99) < 1e-5
    assert differences.max() < 1e-2
    for without, log in zip(*(logs for _, logs in trained), strict=True):
        for name in {
            "loss",
            "cross_entropy",
            "augmented_contrastive",
            "eval_balanced_accuracy",
        } & without.keys():
            assert log[name] == pytest.approx(without[name], abs=1e-4), name


def test_after_the_first_epoch_the_encoder_rests(make_trainer) -> None:
    trainer = make_trainer("run", "augment.text={drop: 0, swap: 0, repeat: 0}")
    reader = trainer.model.text_encoder
    calls = counted(reader)
    trainer.train()
    assert sum(calls) == 3  # the three sentences of the corpus, whoever says them
    changing = make_trainer("changing", "training.epochs=1")
    calls = counted(changing.model.text_encoder)
    changing.train()
    assert sum(calls) > 3


def test_only_for_an_encoder_that_does_not_learn(make_trainer) -> None:
    assert make_trainer("learning", "model.text.train=last:1").text_cache is None
    assert make_trainer("listening", "model.fusion=speech").text_cache is None
    trainer = make_trainer("frozen")
    assert isinstance(trainer.data_collator, KeyedCollator)


def test_workers_change_nothing(make_trainer) -> None:
    trained = []
    for workers in (0, 2):
        trainer = make_trainer(f"run{workers}", f"training.workers={workers}")
        trainer.train()
        trained.append(weights(trainer))
    assert all(torch.equal(value, trained[1][name]) for name, value in trained[0].items())


def same_weights(a: TrainingRun, b: TrainingRun) -> bool:
    ours, theirs = (load_file(run.model_folder / "model.safetensors") for run in (a, b))
    return all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


def test_interrupted_and_resumed_is_uninterrupted(
    frozen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the first and in the second epoch, when texts of it are in the cache; dropout and views on."""
    # Room for some texts only, so that it matters which were there first.
    recipe = frozen("training.epochs=2", "training.batch_size=4", "training.text_cache_gb=1e-6")
    whole = train(recipe, tmp_path / "whole", console=Console(file=io.StringIO()))
    folder, complete = tmp_path / "run", TextCache.complete
    for batches in (3, 10):  # an epoch has five of training and three of validation
        left = [batches]

        def interrupted(cache: TextCache, batch: dict[str, Any], left: list[int] = left) -> None:
            complete(cache, batch)
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        monkeypatch.setattr(TextCache, "complete", interrupted)
        with pytest.raises(KeyboardInterrupt, match=f"{batches // 8} of 2 epochs (is|are) saved"):
            train(recipe, folder, console=Console(file=io.StringIO()))
        (kept,) = (folder / "text_cache").glob("*/states.bin")
        assert 0 < kept.stat().st_size <= 1000
    monkeypatch.setattr(TextCache, "complete", complete)
    resumed = train(recipe, folder, console=Console(file=io.StringIO()))
    assert same_weights(resumed, whole)
    assert resumed.metrics == whole.metrics
    assert not (folder / "text_cache").exists()
