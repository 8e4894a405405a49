"""The transformer layers of a published model are fine-tuned by LoRA, and written as its authors' format has them."""

import math
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from consoles import quiet, told_by
from emotion2vec_rule import write_release
from published_models import (
    save_audio_classifier,
    save_short_window,
    save_speech_head,
    save_text_classifier,
)

from mmer.corpora.corpus import Corpus
from mmer.errors import (
    CheckpointError,
    CorpusError,
    EncoderError,
    MissingExtraError,
    MMERError,
    RecipeError,
    TrainingError,
)
from mmer.inference.backends.published_network import PublishedNetwork
from mmer.inference.inputs import corpus_utterances
from mmer.inference.recognizer import EmotionRecognizer
from mmer.published.checkpoints import write_published
from mmer.training.adaptation import fine_tuning
from mmer.training.adaptation.adapt_published import adapt_published
from mmer.training.adaptation.fine_tuning import BATCH, FOLDS, ROUNDS, FineTuned, FineTuning
from mmer.training.adaptation.last_layer import LastLayer
from mmer.training.adaptation.published_adaptation import PublishedAdaptation

MODELS: dict[str, Callable[[Path], Path]] = {
    "padded": lambda folder: save_audio_classifier(folder, "hubert"),
    "biased attention": lambda folder: save_audio_classifier(folder, "wavlm"),
    "equal lengths": lambda folder: save_audio_classifier(folder, "unispeech"),
    "log-mel": lambda folder: save_audio_classifier(folder, "wav2vec2-bert"),
    "window": save_short_window,
    "patches": lambda folder: save_audio_classifier(folder, "spectrogram-transformer"),
    "dimensions": lambda folder: save_speech_head(folder, ["arousal", "dominance", "valence"]),
    "words": lambda folder: save_text_classifier(folder, "Bert"),
    "transposed weights": lambda folder: save_text_classifier(folder, "GPT2"),
    "emotion2vec": lambda folder: write_release(folder, "small"),
}


def last_layer(folder: Path, corpus: Corpus) -> LastLayer:
    """That of a model, for the labels of a corpus."""
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu", calibrated=False)
    assert isinstance(recognizer.network, PublishedNetwork)
    inputs = np.array(list(recognizer.embed(corpus_utterances(corpus))), np.float64)
    labels = sorted(set(corpus.table["emotion"]))
    output: Any = recognizer.network.model.output
    return LastLayer.of(output, [], labels, inputs, corpus)


def fine_tuning_of(folder: Path, corpus: Corpus, state: Path) -> FineTuning:
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu", calibrated=False)
    return FineTuning(recognizer, corpus_utterances(corpus), last_layer(folder, corpus), state)


@pytest.mark.parametrize("kind", MODELS)
def test_the_written_model_answers_like_the_tuned_network(kind: str, tones: Path, tmp_path: Path) -> None:
    folder, corpus = MODELS[kind](tmp_path / "published"), Corpus.read(tones)
    learner = fine_tuning_of(folder, corpus, tmp_path / "state").learner
    rows = np.arange(len(corpus))
    learner.start(last_layer(folder, corpus), rows, seed=0)
    before = learner.logits(rows)
    for _ in range(3):
        learner.step([learner.read(row) for row in range(BATCH)], 1e-2)
    tuned = learner.logits(rows)
    assert (tuned - before).abs().max() > 1e-2
    labels = sorted(set(corpus.table["emotion"]))
    (tmp_path / "out").mkdir()
    weights = learner.merged()
    write_published(folder, learner.layer, labels, weights, tmp_path / "out")

    answers = EmotionRecognizer.from_pretrained(tmp_path / "out", "cpu").predict(corpus_utterances(corpus))
    written = np.array([[(each.probabilities or {})[label] for label in labels] for each in answers])
    np.testing.assert_allclose(written, tuned.softmax(dim=1).numpy(), atol=1e-4)
    assert all(any(part.isdigit() for part in name.split(".")) for name in weights)


def take_few_steps(patch: pytest.MonkeyPatch) -> None:
    """Two optimizer steps a round, large ones."""
    patch.setattr(fine_tuning, "FEWEST_STEPS", 2 * ROUNDS)
    patch.setattr(fine_tuning, "EPOCHS", 1)
    patch.setattr(fine_tuning, "RATE", 1e-2)


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """See `take_few_steps`."""
    take_few_steps(monkeypatch)


def agreeing(folder: Path) -> Path:
    """A corpus in which neither of two words tells the label, but whether they go together."""
    generator, rows = np.random.default_rng(0), []
    for number in range(128):
        first, second = generator.integers(0, 2, 2)
        fill = generator.choice(["what a", "the", "at", "said that", "leaves"], 2)
        rows.append(
            {
                "utterance_id": f"clip {number}",
                "audio_path": None,
                "speaker": f"speaker {number // 16}",
                "transcript": f"{fill[0]} {('train', 'never')[first]} {fill[1]} {('day', 'nine')[second]}",
                "emotion": "agreeing" if first == second else "differing",
            }
        )
    Corpus(pd.DataFrame(rows)).write(folder / "agreeing.parquet")
    return folder / "agreeing.parquet"


def test_fine_tuning_learns_what_the_last_layer_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fine_tuning, "RATE", 1e-2)  # of a far smaller network than those that are published
    folder, corpus = save_text_classifier(tmp_path / "published", "DistilBert"), agreeing(tmp_path)
    about, told = dict[str, PublishedAdaptation](), dict[str, str]()
    for name, overrides in {"frozen": ["model.text.train=frozen"], "lora": list[str]()}.items():
        console = quiet()
        adapt_published(folder, corpus, tmp_path / name, overrides, console=console)
        about[name] = PublishedAdaptation.read(tmp_path / name / "adaptation.json")
        told[name] = told_by(console)
    assert told["frozen"].startswith(
        "the last layer alone is fitted, and the network of 0.0 million weights stays as it is, since "
        "model.text.train is frozen"
    )
    assert told["lora"].startswith(
        "the network of 0.0 million weights is fine-tuned by LoRA, together with the last layer, since there are 128 "
        "clips; model.text.train=frozen fits the last layer alone"
    )
    accuracies = {name: found.adapted.estimate for name, found in about.items() if found.adapted}
    assert accuracies["lora"] > accuracies["frozen"] + 0.2
    assert about["frozen"].steps == 0 < about["lora"].steps
    assert f"by {about['lora'].steps} optimizer steps" in told["lora"]
    card = (tmp_path / "lora" / "model" / "README.md").read_text()
    assert f"in {about['lora'].steps} optimizer steps, together with its last layer" in card
    assert "Probabilities are calibrated by mmer" in card
    assert not (tmp_path / "lora" / "fine-tuning").exists()
    answers = EmotionRecognizer.from_pretrained(tmp_path / "lora" / "model", "cpu").predict_corpus(
        Corpus.read(corpus)
    )
    assert (answers["predicted"] == Corpus.read(corpus).table["emotion"]).mean() > 0.9


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text_classifier(tmp_path_factory.mktemp("reader"), "DistilBert")


def same(one: FineTuned, other: FineTuned) -> bool:
    return (
        one.steps == other.steps
        and np.array_equal(one.held_out, other.held_out)
        and torch.equal(one.layer.weight, other.layer.weight)
        and all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    )


def use_all_rounds(patch: pytest.MonkeyPatch) -> None:
    """Learning from all utterances takes steps too."""
    take_few_steps(patch)
    patch.setattr(fine_tuning, "_best", lambda losses: ROUNDS)


@pytest.fixture(scope="module")
def whole(reader: Path, tones: Path, tmp_path_factory: pytest.TempPathFactory) -> FineTuned:
    """What one makes that uses all rounds and is not interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        use_all_rounds(patch)
        work = fine_tuning_of(reader, Corpus.read(tones), tmp_path_factory.mktemp("whole"))
        return work.run(lambda done: None)


@pytest.mark.parametrize("interrupted_at", [1, 13, 24, 31])
def test_an_interrupted_one_goes_on_where_it_was(
    interrupted_at: int,
    whole: FineTuned,
    reader: Path,
    tones: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_all_rounds(monkeypatch)
    corpus = Corpus.read(tones)
    taken = list[int]()

    def interrupt(done: int) -> None:
        taken.append(done)
        if done == interrupted_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tuning_of(reader, corpus, tmp_path / "state").run(interrupt)
    assert taken == list(range(1, interrupted_at + 1))
    again = fine_tuning_of(reader, corpus, tmp_path / "state")
    rest = list[int]()
    assert same(again.run(rest.append), whole)
    assert rest == list(range(interrupted_at - (interrupted_at - 1) % 2, again.most_steps + 1))
    assert whole.steps == again.most_steps // (FOLDS + 1) == 2 * ROUNDS


@pytest.mark.usefixtures("few_steps")
def test_a_damaged_state_is_named(reader: Path, tones: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "0.pt").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"0\.pt.*remove it, and the same call goes on without it"):
        fine_tuning_of(reader, Corpus.read(tones), tmp_path / "state").run(lambda done: None)


def test_the_number_of_rounds_suits_the_other_groups(
    reader: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers to a left-out part are those after the rounds that the other parts choose."""
    corpus = Corpus.read(tones)
    work = fine_tuning_of(reader, corpus, tmp_path / "state")
    right = np.eye(3)[work.fit.classes]
    best = {0: 1, 1: 2, 2: 3}
    asked = list[tuple[int, int]]()

    def rounds(part: int, kept: Any, left: Any, rounds: int, progress: Any) -> Any:
        asked.append((part, rounds))
        sharp = [0.5 + 5.0 * (number == best.get(part)) + 0.01 * number for number in range(rounds + 1)]
        return np.array([each * right[left] for each in sharp])

    monkeypatch.setattr(work, "_rounds", rounds)
    work.learner.start(work.fit, np.arange(len(corpus)), seed=0)
    tuned = work.run(lambda done: None)
    assert asked == [(0, ROUNDS), (1, ROUNDS), (2, ROUNDS), (3, 3)]
    chosen = {0: 3, 1: 3, 2: 2}
    for part, (_, left) in enumerate(work.folds):
        sharp = 0.5 + 5.0 * (chosen[part] == best[part]) + 0.01 * chosen[part]
        np.testing.assert_allclose(tuned.held_out[left].max(axis=1), sharp)


def test_a_batch_in_parts_has_the_same_gradient(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, corpus = save_audio_classifier(tmp_path / "published", "hubert"), Corpus.read(tones)
    learner = fine_tuning_of(folder, corpus, tmp_path / "state").learner
    fit, gradients = last_layer(folder, corpus), []
    for largest in (480_000, 1):
        monkeypatch.setattr(fine_tuning, "LARGEST_PART", largest)
        learner.start(fit, np.arange(len(corpus)), seed=0)
        learner.step([learner.read(row) for row in range(BATCH)], 1e-3)
        gradients.append([weight.grad.clone() for weight in learner.lora if weight.grad is not None])
    for together, alone in zip(*gradients, strict=True):
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-3)


def test_what_is_no_number(reader: Path, tones: Path, tmp_path: Path) -> None:
    corpus = Corpus.read(tones)
    learner = fine_tuning_of(reader, corpus, tmp_path / "state").learner
    learner.start(last_layer(reader, corpus), np.arange(len(corpus)), seed=0)
    with torch.no_grad():
        learner.layer.weight.fill_(math.inf)
    with pytest.raises(TrainingError, match=r"what is no number .* set model\.speech\.train.* to frozen"):
        learner.step([learner.read(row) for row in range(BATCH)], 1e-3)


@pytest.mark.usefixtures("few_steps")
def test_a_recording_that_is_gone_meanwhile(tones: Path, tmp_path: Path) -> None:
    folder = save_audio_classifier(tmp_path / "published", "hubert")
    table = Corpus.read(tones).table
    shutil.copytree(Path(table["audio_path"][0]).parent, tmp_path / "sounds")
    moved = [str(tmp_path / "sounds" / Path(path).name) for path in table["audio_path"]]
    corpus = Corpus(table.assign(audio_path=moved))
    work = fine_tuning_of(folder, corpus, tmp_path / "state")
    Path(moved[5]).unlink()
    with pytest.raises(CorpusError, match=Path(moved[5]).name):
        work.run(lambda done: None)


def test_the_rate_rises_and_falls() -> None:
    rates = [fine_tuning._rate(step, 100) for step in range(100)]
    assert rates[9] == rates[10] == max(rates) == fine_tuning.RATE
    assert rates[0] == pytest.approx(fine_tuning.RATE / 10)
    assert rates[55] == pytest.approx(fine_tuning.RATE / 2)
    assert 0 < rates[-1] < 1e-3 * fine_tuning.RATE


def test_every_utterance_is_drawn_as_often_as_others() -> None:
    drawn = fine_tuning._draws(np.arange(3, 10), 20, seed=(0, 1))
    counts = np.bincount(drawn, minlength=10)[3:]
    assert len(drawn) == counts.sum() == 20
    assert counts.min() >= counts.max() - 1 >= 1
    assert drawn == fine_tuning._draws(np.arange(3, 10), 20, seed=(0, 1))
    assert drawn != fine_tuning._draws(np.arange(3, 10), 20, seed=(0, 2))


@pytest.mark.usefixtures("few_steps")
def test_each_round_draws_in_an_order_of_its_own(
    reader: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders, draws = list[tuple[int, ...]](), fine_tuning._draws

    def noted(rows: fine_tuning.Rows, number: int, seed: tuple[int, int]) -> list[int]:
        order = draws(rows, number, seed)
        orders.append(tuple(order))
        return order

    monkeypatch.setattr(fine_tuning, "_draws", noted)
    fine_tuning_of(reader, Corpus.read(tones), tmp_path / "state").run(lambda done: None)
    assert len(orders) == len(set(orders)) >= FOLDS * ROUNDS


def test_few_clips_fit_the_last_layer_unless_asked_otherwise(
    reader: Path, tones: Path, tmp_path: Path
) -> None:
    console = quiet()
    adapt_published(reader, tones, tmp_path / "out", console=console)
    assert "since 36 clips are too few to change it; from 100 clips on, it is fine-tuned" in told_by(console)
    with pytest.raises(MMERError, match="holds another adaptation, different in the setting train"):
        adapt_published(reader, tones, tmp_path / "out", ["model.text.train=lora"], console=console)


@pytest.mark.usefixtures("few_steps")
def test_few_clips_are_enough_if_asked(reader: Path, tones: Path, tmp_path: Path) -> None:
    console = quiet()
    adapt_published(reader, tones, tmp_path / "out", ["model.text.train=lora"], console=console)
    assert "by LoRA, together with the last layer, since model.text.train is lora" in told_by(console)


def test_a_network_without_a_stack_of_layers(tmp_path: Path) -> None:
    """ALBERT has one layer, which it runs several times."""
    folder, corpus, console = (
        save_text_classifier(tmp_path / "published", "Albert"),
        agreeing(tmp_path),
        quiet(),
    )
    adapt_published(folder, corpus, tmp_path / "out", console=console)
    assert "stays as it is, since it has no stack of transformer layers" in told_by(console)
    with pytest.raises(EncoderError, match="have no stack of 2 layers"):
        adapt_published(folder, corpus, tmp_path / "lora", ["model.text.train=lora"], console=console)
    assert not (tmp_path / "lora").exists()


def test_without_peft(reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match="lora needs peft"):
        adapt_published(reader, agreeing(tmp_path), tmp_path / "out", console=quiet())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.text.train=full", "model.text.train is full; of a published model, it must be frozen"),
        ("model.speech.train=lora", "data.label_map and model.text.train can be chosen"),
        ("model.lora.rank=4", "leave lora out"),
    ],
)
def test_other_settings(override: str, told: str, reader: Path, tones: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=re.escape(told)):
        adapt_published(reader, tones, tmp_path / "out", [override], console=quiet())
