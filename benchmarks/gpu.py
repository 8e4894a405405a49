"""What training and scoring cost on a GPU: one table, within a budget of minutes.

Sounds, texts and weights are random; classes and sizes are those of wav2vec2 and RoBERTa, base and large. The table is
written after each part, so that what is measured stays when the rest fails or is cut off. A part that the budget leaves
no time for is named and skipped.

    python benchmarks/gpu.py [--minutes 5] [--out gpu.md] [--parts steps,products] [--tiny]

`--tiny` measures small networks for a try without a GPU.
"""

import argparse
import gc
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import torch
import transformers
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    RobertaConfig,
    RobertaModel,
    TrainerCallback,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from mmer.corpora.corpus import Corpus
from mmer.inference.archive.score import score
from mmer.inference.backends.torch_network import TorchNetwork
from mmer.model import MMERConfig, MMERForEmotionRecognition
from mmer.model.build import build_model
from mmer.model.encoders.activation_checkpointing import enable_activation_checkpointing
from mmer.model.encoders.compact import compact_tokenizer
from mmer.model.gpu_settings import attention_of_any_length, tf32
from mmer.objectives.gradient_cache import backward_in_parts, split_batch
from mmer.objectives.multitask import multitask_loss
from mmer.recipe.model import CompactText
from mmer.recipe.schema import Recipe, load_recipe
from mmer.recipe.values import ActivationCheckpointing
from mmer.training.data.dataset import Collator, FeatureStore, SpeechEmotionDataset
from mmer.training.data.preparation import prepare
from mmer.training.trainer import MMERTrainer

TOKENS, CHARACTERS, RATE = 20, 20, 16_000
EMOTIONS = ["angry", "happy", "neutral", "sad"]
IEMOCAP_UTTERANCES, FOLDS, EPOCHS = 5531, 5, 100
WARM_UP, STEPS = 2, 5
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm")
CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Size:
    """Sizes of the encoders and of the made data."""

    speech: dict[str, Any]
    text: dict[str, Any]
    batches: tuple[int, ...] = (4, 16, 64)
    contrastive: int = 256
    clips: int = 6400  # of the archive that is scored
    utterances: int = 1600  # of the corpus that is trained on
    matrix: int = 8192
    seconds: float = 4.5  # the mean of IEMOCAP

    @property
    def samples(self) -> int:
        return round(self.seconds * RATE)


BASE = Size({}, {})
LARGE_SPEECH = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
LAYERS = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
LARGE = Size({**LARGE_SPEECH, **LAYERS}, LAYERS, clips=1600)
SMALL = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
TINY = Size(
    {**SMALL, "conv_dim": (16,) * 7, "num_conv_pos_embedding_groups": 2},
    SMALL,
    batches=(2, 4),
    contrastive=8,
    clips=120,
    utterances=120,
    matrix=256,
    seconds=0.5,
)


@dataclass
class Table:
    """The figures so far, each with its target."""

    head: str
    out: Path | None
    rows: list[dict[str, str]] = field(default_factory=list)

    def add(self, figure: str, value: str, target: str = "") -> None:
        self.rows.append({"figure": figure, "measured": value, "target": target})
        print(f"  {figure}: {value}{target and f'   (target {target})'}", flush=True)

    def text(self) -> str:
        lines = ["| Figure | Measured | Target |", "| --- | --- | --- |"]
        lines += ["| {figure} | {measured} | {target} |".format(**row) for row in self.rows]
        return f"{self.head}\n\n" + "\n".join(lines) + "\n"

    def write(self) -> None:
        if self.out is not None:
            self.out.write_text(self.text(), encoding="utf-8")
            self.out.with_suffix(".json").write_text(json.dumps({"head": self.head, "rows": self.rows}))


def synchronize() -> None:
    if CUDA:
        torch.cuda.synchronize()


def median_seconds(work: Callable[[], Any], steps: int = STEPS, warm_up: int = WARM_UP) -> float:
    """Median time of the work, waited for, after a warm-up."""
    taken = []
    for number in range(warm_up + steps):
        synchronize()
        start = time.perf_counter()
        work()
        synchronize()
        if number >= warm_up:
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def peak_gigabytes() -> float:
    return torch.cuda.max_memory_allocated() / 1e9 if CUDA else float("nan")


def fresh_memory() -> None:
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


# A training step on the paper's network, with text features handed in as a frozen text encoder's cache does.


def make_batch(size: Size, utterances: int) -> dict[str, Tensor]:
    """Random inputs of both views: (utterances, samples), (utterances, 20 tokens, d)."""
    width = Wav2Vec2Config(**size.speech).hidden_size
    batch: dict[str, Tensor] = {"labels": torch.arange(utterances, device=DEVICE) % len(EMOTIONS)}
    batch["ctc_labels"] = torch.randint(5, 32, (utterances, CHARACTERS), device=DEVICE)
    for prefix in ("", "augmented_"):
        batch[f"{prefix}input_values"] = torch.randn(utterances, size.samples, device=DEVICE)
        batch[f"{prefix}text_hidden_states"] = 0.3 * torch.randn(utterances, TOKENS, width, device=DEVICE)
    return batch


def new_model(size: Size, checkpointing: ActivationCheckpointing = "none") -> MMERForEmotionRecognition:
    """The paper's network with random weights, in training mode on the device."""
    torch.manual_seed(0)
    speech = Wav2Vec2Config(apply_spec_augment=False, **size.speech)
    config = MMERConfig(
        speech_config=speech,
        hidden_size=speech.hidden_size,
        num_attention_heads=speech.num_attention_heads,
        intermediate_size=speech.intermediate_size,
        id2label=dict(enumerate(EMOTIONS)),
    )
    model = MMERForEmotionRecognition(config).train()
    model.to(device=torch.device(DEVICE))  # pyright: ignore[reportCallIssue]
    enable_activation_checkpointing(model, checkpointing)
    return model


def new_step(loss_of: Callable[[], Tensor], network: torch.nn.Module, precision: str) -> Callable[[], None]:
    """One optimizer step: forward, backward, AdamW."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = loss_of()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def own_step(
    size: Size,
    utterances: int,
    precision: str,
    checkpointing: ActivationCheckpointing = "none",
    *,
    compiled: bool = False,
) -> Callable[[], None]:
    """A step of this package's network on a batch."""
    model, batch = new_model(size, checkpointing), make_batch(size, utterances)
    network: Callable[..., Any] = torch.compile(model) if compiled else model
    return new_step(lambda: network(**batch).loss, model, precision)


def published_step(size: Size, utterances: int) -> Callable[[], None]:
    """The speech encoder of the published code: each view in turn, plain attention; without its fusion."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(apply_spec_augment=False, **size.speech)
    config._attn_implementation = "eager"
    encoder = Wav2Vec2Model(config).train()
    encoder.to(device=torch.device(DEVICE))  # pyright: ignore[reportCallIssue]
    encoder.freeze_feature_encoder()
    batch = make_batch(size, utterances)

    def loss_of() -> Tensor:
        views = [batch[f"{prefix}input_values"] for prefix in ("", "augmented_")]
        return torch.stack([encoder(view).last_hidden_state.square().mean() for view in views]).sum()

    return new_step(loss_of, encoder, "float32")


def measure_step(table: Table, name: str, utterances: int, make: Callable[[], Callable[[], None]]) -> float:
    """Add the line of a step and return its seconds; infinity where memory does not suffice."""
    fresh_memory()
    try:
        seconds = median_seconds(make())
    except torch.OutOfMemoryError:
        table.add(f"step, {name}, batch {utterances}", "out of memory")
        return float("inf")
    value = f"{seconds * 1000:.1f} ms, {utterances / seconds:.0f} utterances/s, {peak_gigabytes():.1f} GB"
    table.add(f"step, {name}, batch {utterances}", value)
    return seconds


def steps(table: Table, size: Size) -> None:
    """Steps of every precision beside the published formulation, and with recomputed activations."""
    for utterances in size.batches:
        with tf32(allowed=False):
            published = measure_step(
                table,
                "published encoder alone, float32",
                utterances,
                partial(published_step, size, utterances),
            )
            plain = partial(own_step, size, utterances)
            measure_step(table, "float32", utterances, partial(plain, "float32"))
        with tf32(allowed=True):
            measure_step(table, "TF32", utterances, partial(plain, "float32"))
        ours = measure_step(table, "bfloat16", utterances, partial(plain, "bfloat16"))
        table.add(
            f"bfloat16 step / published float32, batch {utterances}", f"{ours / published:.2f}", "<= 0.25"
        )
        for checkpointing in ("cheap", "layers"):
            make = partial(plain, "bfloat16", checkpointing)
            measure_step(table, f"bfloat16, recomputing {checkpointing}", utterances, make)


def compiled_steps(table: Table, size: Size) -> None:
    """Steps through torch.compile, the compilation beside them."""
    for utterances in size.batches[:0:-1]:
        started = time.perf_counter()
        make = partial(own_step, size, utterances, "bfloat16", compiled=True)
        measure_step(table, "bfloat16, compiled", utterances, make)
        table.add(f"compiling and {WARM_UP + STEPS} steps", f"{time.perf_counter() - started:.0f} s")
        torch.compiler.reset()


def products(table: Table, size: Size) -> None:
    """Share of the card's measured bfloat16 peak that the matrix products of a step reach."""
    factor = torch.randn(size.matrix, size.matrix, device=DEVICE, dtype=torch.bfloat16)
    peak = 2 * size.matrix**3 / median_seconds(lambda: factor @ factor, steps=20)
    table.add(f"bfloat16 product of {size.matrix}^3, the peak", f"{peak / 1e12:.0f} TFLOP/s")
    utterances = size.batches[-1]
    step = own_step(size, utterances, "bfloat16")
    seconds = median_seconds(step)
    with FlopCounterMode(display=False) as counter:
        step()
    counts = {
        f"aten::{str(name).split('.')[-1]}": n for name, n in counter.get_flop_counts()["Global"].items()
    }
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if CUDA else [])]) as found:
        step()
        synchronize()
    averages = found.key_averages()
    by_device = "self_device_time_total" if CUDA else "self_cpu_time_total"
    taken = sum(getattr(event, by_device) for event in averages if event.key in PRODUCTS) / 1e6
    rate = sum(counts.get(name, 0) for name in PRODUCTS) / taken
    table.add(
        f"matrix products of a bfloat16 step, batch {utterances}", f"{rate / peak:.0%} of the peak", ">= 40 %"
    )
    table.add("their share of the step", f"{taken / seconds:.0%}")
    table.add("all operations of the step", f"{sum(counts.values()) / seconds / peak:.0%} of the peak")
    print(averages.table(sort_by=by_device, row_limit=25, max_name_column_width=60))


def contrastive(table: Table, size: Size) -> None:
    """The contrastive batch in parts, whose gradient is that of the whole, against plain accumulation."""
    whole, part = size.contrastive, size.batches[-1]
    fresh_memory()
    model, batch = new_model(size), make_batch(size, whole)
    parts = split_batch(batch, part)

    def plain() -> None:
        for each in parts:
            with torch.autocast(DEVICE, torch.bfloat16):
                loss = model(**each).loss / len(parts)
            loss.backward()

    def summarize(each: Any, kept: Any) -> dict[str, Tensor]:
        with torch.autocast(DEVICE, torch.bfloat16):
            return model(**each, kept=kept).summary

    def cached() -> None:
        backward_in_parts(parts, summarize, partial(multitask_loss, model.config), Tensor.backward)

    accumulated, seconds = median_seconds(plain, 3, 1), median_seconds(cached, 3, 1)
    value = f"{seconds * 1000:.0f} ms, {whole / seconds:.0f} utterances/s, {peak_gigabytes():.1f} GB"
    table.add(f"contrastive batch {whole} in parts of {part}, bfloat16", value)
    table.add("against plain accumulation", f"{seconds / accumulated:.2f} x the time")


# The real training loop and the real archive, on made files.


def make_corpus(folder: Path, clips: int, seconds: float) -> Path:
    """A table of noise of so many seconds on average, five speakers in five sessions, words at random."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.gamma(3, seconds / 3, clips), 0.3, 15)
    noise = (0.1 * random.standard_normal(16 * RATE)).astype(np.float32)
    words = [f"{a}{b}" for a in ("ba", "do", "mi", "ku", "le") for b in ("n", "r", "st", "ll", "")]
    rows = []
    for number, length in enumerate(lengths):
        start = int(random.integers(RATE))
        soundfile.write(folder / f"{number}.wav", noise[start : start + round(length * RATE)], RATE)
        rows.append(
            {
                "utterance_id": str(number),
                "audio_path": f"{number}.wav",
                "transcript": " ".join(random.choice(words, 12)),
                "emotion": EMOTIONS[number % len(EMOTIONS)],
                "speaker": f"s{number // len(EMOTIONS) % 5}",
            }
        )
    path = folder / "corpus.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


def make_recipe(folder: Path, size: Size, corpus: Path, *changes: str) -> Recipe:
    """The paper's recipe with encoders of random weights, written as a user would have downloaded them."""
    speech, text = folder / "speech", folder / "text"
    if not speech.exists():
        torch.manual_seed(0)
        Wav2Vec2Model(Wav2Vec2Config(**size.speech)).save_pretrained(speech)
        Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(speech)
        vocabulary = RobertaConfig(vocab_size=50_265, max_position_embeddings=514, **size.text)
        RobertaModel(vocabulary).save_pretrained(text)
        said = Corpus.read(corpus).table["transcript"].tolist()
        compact_tokenizer(said, CompactText(vocabulary_size=300)).save_pretrained(text)
    heads = Wav2Vec2Config(**size.speech).num_attention_heads
    settings = [f"data.corpus={corpus}", f"model.speech.encoder={speech}", f"model.text.encoder={text}"]
    settings += ["data.label_map={}", "protocol.group=speaker", "protocol.test=[s4]", "training.epochs=1"]
    return load_recipe("iemocap-paper", [*settings, f"model.num_attention_heads={heads}", *changes])


class Waiting(TrainerCallback):
    """Times of the steps, and of the waits for their batches before them."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.steps: list[float] = []
        self._last = time.perf_counter()

    def on_step_begin(self, *args: Any, **named: Any) -> None:
        now = time.perf_counter()
        self.waits.append(now - self._last)
        self._last = now

    def on_step_end(self, *args: Any, **named: Any) -> None:
        now = time.perf_counter()
        self.steps.append(now - self._last)
        self._last = now


def training_loop(table: Table, size: Size) -> None:
    """Steps of the Trainer on recordings with augmentation, the wait for data, and the paper's run by extrapolation."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = make_corpus(folder, size.utterances, size.seconds)
        for precision, batch, accumulation in (
            ("bfloat16", 4, 4),
            ("bfloat16", 16, 1),
            ("float32", 4, 4),
        ):
            settings = (f"batch_size={batch}", f"accumulation={accumulation}", f"precision={precision}")
            changes = [f"training.{setting}" for setting in settings]
            recipe = make_recipe(folder, size, corpus, *changes)
            waiting, trained, judged, utterances = run_loop(recipe, folder / f"{precision}{batch}")
            what = f"training loop, {precision}, {batch} x {accumulation}"
            table.add(what, f"{1 / trained:.0f} utterances/s")
            table.add(f"{what}: waits for data", f"{waiting:.1%} of the time", "<= 2 %")
            hours = (
                FOLDS * EPOCHS * IEMOCAP_UTTERANCES * (0.6 * trained + 0.2 * judged) / 3600
            )  # of five sessions, three train and one judges each epoch
            table.add(
                f"{what}: {FOLDS} folds x {EPOCHS} epochs of IEMOCAP",
                f"{hours:.1f} h, from {utterances} utterances",
                "<= 8 h",
            )
            table.write()


def run_loop(recipe: Recipe, folder: Path) -> tuple[float, float, float, int]:
    """Share of waiting, seconds an utterance of training and of judging, and number of utterances timed."""
    preparation = prepare(recipe)
    model, processor = build_model(recipe, preparation.part("train"), preparation.labels)
    store, waiting = FeatureStore(processor), Waiting()
    train, judged = (
        SpeechEmotionDataset(preparation.part(split), store, recipe, training=split == "train")
        for split in ("train", "validation")
    )
    for dataset in (train, judged):
        for utterance in dataset.utterances:
            store(utterance)
    folder.mkdir()
    trainer = MMERTrainer(model, recipe, train, None, Collator(processor), folder, [waiting])
    trainer.args.save_strategy = "no"  # type: ignore[assignment]
    trainer.train()
    trainer.evaluate(judged)  # type: ignore[arg-type]
    start = time.perf_counter()
    trainer.evaluate(judged)  # type: ignore[arg-type]
    judging = (time.perf_counter() - start) / len(judged)
    waits, taken = sum(waiting.waits[WARM_UP:]), sum(waiting.steps[WARM_UP:])
    utterances = recipe.training.batch_size * recipe.training.accumulation * len(waiting.steps[WARM_UP:])
    return waits / (waits + taken), (waits + taken) / utterances, judging, utterances


def scoring(table: Table, size: Size, name: str, target: str) -> None:
    """Hours of speech an hour: the network alone on ready batches, and `mmer score` with files."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        corpus = make_corpus(folder, size.clips, size.seconds)
        recipe = make_recipe(folder, size, corpus)
        preparation = prepare(recipe)
        model, processor = build_model(recipe, preparation.part("train"), preparation.labels)
        model.save_pretrained(folder / "model")
        processor.save_pretrained(folder / "model")
        network = TorchNetwork(model, DEVICE)
        for batch_size in (16, 64):
            shape = (batch_size, size.samples)
            inputs = {
                "input_values": np.random.default_rng(0).standard_normal(shape, np.float32),
                "speech_attention_mask": np.ones(shape, np.int64),
                "input_ids": np.full((batch_size, TOKENS), 7),
                "text_attention_mask": np.ones((batch_size, TOKENS), np.int64),
            }
            for precision in ("float32", "TF32", "bfloat16"):
                autocast = (
                    torch.autocast(DEVICE, torch.bfloat16) if precision == "bfloat16" else nullcontext()
                )
                with tf32(allowed=precision == "TF32"), autocast:
                    seconds = median_seconds(partial(network.answer, inputs))
                table.add(
                    f"network alone, {name}, {precision}, batches of {batch_size}",
                    f"{batch_size * size.seconds / seconds:.0f} x real time",
                )
        for batch_size, workers in ((16, 1), (64, 1), (64, 4)):
            scored = score(
                folder / "model",
                str(corpus),
                folder / f"scores-{batch_size}-{workers}",
                device=DEVICE,
                batch_size=batch_size,
                workers=workers,
            )
            told = f"{scored.new_rows} clips, batches of {batch_size}, workers: {workers}, loading included"
            table.add(
                f"mmer score, {name}, {told}",
                f"{scored.new_sound / scored.took:.0f} x real time, {len(scored.errors)} errors",
                target,
            )


def tests(table: Table, size: Size, seconds_left: float) -> None:
    """The tests that need a GPU."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-m",
        "gpu",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",  # a machine may lack what other tests import
        "tests",
    ]
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds_left)
    except subprocess.TimeoutExpired as error:
        table.add("pytest -m gpu", f"cut off after {error.timeout:.0f} s")
        raise
    print(run.stdout[-8000:], run.stderr[-2000:], sep="\n")
    last = run.stdout.strip().splitlines()[-1:] or [run.stderr.strip()[-200:]]
    table.add("pytest -m gpu", last[0].strip("= "), "all pass")


def run_parts(parts: Iterable[tuple[str, Callable[[], None]]], table: Table, deadline: float) -> None:
    """Run each part while the budget lasts; what fails shows its trace, and the next one runs."""
    for name, part in parts:
        if time.monotonic() > deadline:
            table.add(name, "skipped: the budget is spent")
        else:
            print(f"{name} ({deadline - time.monotonic():.0f} s left)", flush=True)
            started = time.monotonic()
            try:
                part()
            except Exception as error:
                traceback.print_exc()
                table.add(name, f"failed: {type(error).__name__}")
            print(f"  took {time.monotonic() - started:.0f} s", flush=True)
        table.write()
        fresh_memory()


def heading() -> str:
    """The machine and the software, in a line."""
    card = torch.cuda.get_device_name() if CUDA else f"no GPU, {torch.get_num_threads()} threads"
    driver = ""
    if CUDA:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = f", driver {subprocess.run(query, capture_output=True, text=True).stdout.strip()}"
    versions = f"PyTorch {torch.__version__}, transformers {transformers.__version__}"
    return f"{card}{driver}, {versions}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--out", type=Path, help="the table as Markdown, and beside it as JSON")
    parser.add_argument("--parts", help="names of parts, with commas; default: all")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    deadline = time.monotonic() + 60 * arguments.minutes
    base, large = (TINY, TINY) if arguments.tiny else (BASE, LARGE)
    table = Table(heading(), arguments.out)
    print(table.head, flush=True)
    parts: dict[str, Callable[[], None]] = {
        "tests": lambda: tests(table, base, deadline - time.monotonic()),
        "steps": partial(steps, table, base),
        "products": partial(products, table, base),
        "contrastive": partial(contrastive, table, base),
        "loop": partial(training_loop, table, base),
        "score": partial(scoring, table, base, "base", ">= 2000 x"),
        "score-large": partial(scoring, table, large, "large", ""),
        "compile": partial(compiled_steps, table, base),
    }
    names = arguments.parts.split(",") if arguments.parts else list(parts)
    with attention_of_any_length():  # as the trainer and the recognizer do
        run_parts([(name, parts[name]) for name in names], table, deadline)
    print(table.text())


if __name__ == "__main__":
    main()
