"""What a large contrastive batch costs when memory holds a small one (`training.micro_batch_size`).

One step over `--batch` utterances with all four objectives and both views, in parts of `--micro`, against plain
accumulation over the same parts, whose contrastive objectives see one part at a time, and against the memory of a
single part. A reduced wav2vec2 with random weights, 2 s clips. Memory is that of a process for each side; times are
taken in turn in one process.

    python benchmarks/gradient_cache.py [--batch 256] [--micro 8] [--device cuda]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import Wav2Vec2Config

from mmer.model import MMERConfig, MMERForEmotionRecognition
from mmer.objectives.gradient_cache import backward_in_parts, split_batch
from mmer.objectives.multitask import multitask_loss

SIDES = ("single", "plain", "cached", "time")
ROUNDS = 3
SIZES: dict[str, Any] = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "conv_dim": (128,) * 7,
}


def make_batch(utterances: int, device: str) -> dict[str, Tensor]:
    """Random inputs of both views."""
    generator = torch.Generator().manual_seed(0)
    batch = {"labels": torch.arange(utterances) % 4}
    batch["ctc_labels"] = torch.randint(5, 32, (utterances, 20), generator=generator)
    for prefix in ("", "augmented_"):
        batch[f"{prefix}input_values"] = torch.randn(utterances, 32_000, generator=generator)
        batch[f"{prefix}text_hidden_states"] = 0.3 * torch.randn(utterances, 10, 256, generator=generator)
    return {name: tensor.to(device) for name, tensor in batch.items()}


def measure(side: str, batch: int, micro: int, device: str) -> dict[str, float]:
    """Peak memory in GB of the process or the GPU; of the side `time`, seconds of both kinds of a step in turn."""
    torch.manual_seed(0)
    config = MMERConfig(
        speech_config=Wav2Vec2Config(apply_spec_augment=False, **SIZES),
        hidden_size=256,
        intermediate_size=1024,
        num_attention_heads=4,
        id2label={i: str(i) for i in range(4)},
    )
    model = MMERForEmotionRecognition(config).train()
    model.to(device=torch.device(device))  # pyright: ignore[reportCallIssue]
    inputs = make_batch(batch, device)  # of every side, so that memory differs in what is computed alone
    parts = split_batch(inputs, micro)

    def plain(parts: list[dict[str, Tensor]]) -> None:
        for part in parts:
            (model(**part).loss / len(parts)).backward()

    def cached(parts: list[dict[str, Tensor]]) -> None:
        loss_of = partial(multitask_loss, model.config)
        backward_in_parts(
            parts, lambda part, kept: model(**part, kept=kept).summary, loss_of, Tensor.backward
        )

    def seconds(step: Callable[[list[dict[str, Tensor]]], None], parts: list[dict[str, Tensor]]) -> float:
        start = time.perf_counter()
        step(parts)
        model.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    seconds(plain, parts[:1])
    if side == "time":
        rounds = [(seconds(plain, parts), seconds(cached, parts)) for _ in range(ROUNDS)]
        taken = dict(zip(("plain", "cached"), map(statistics.median, zip(*rounds, strict=True)), strict=True))
        return {**taken, "ratio": statistics.median(cached / plain for plain, cached in rounds)}
    seconds(cached if side == "cached" else plain, parts[:1] if side == "single" else parts)
    if device == "cuda":
        return {"gigabytes": torch.cuda.max_memory_allocated() / 1e9}
    return {"gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--micro", type=int, default=8)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments.batch, arguments.micro, arguments.device)))
        return
    found = {}
    for side in SIDES:
        command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
        found[side] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(side, ", ".join(f"{name} {value:.3f}" for name, value in found[side].items()), flush=True)
    memory_ratio = found["cached"]["gigabytes"] / found["single"]["gigabytes"]
    print(
        f"batch {arguments.batch} in parts of {arguments.micro}: {memory_ratio:.2f} x the memory of one part,"
    )
    print(f"{found['time']['ratio']:.2f} x the time of plain accumulation")


if __name__ == "__main__":
    main()
