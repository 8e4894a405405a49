"""What a large contrastive batch costs when memory holds a small one (`training.micro_batch_size`).

One step over `--batch` utterances with all four objectives and both views, in parts of `--micro`, against plain
accumulation over the same parts, whose contrastive objectives see one part at a time, and against the memory of a
single part. A reduced wav2vec2 with random weights, 2 s clips. Each side runs in a process of its own, so that its peak
memory is its own.

    python benchmarks/gradient_cache.py [--batch 256] [--micro 8] [--device cuda]
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import Wav2Vec2Config

from mmer.model import MMERConfig, MMERForEmotionRecognition
from mmer.objectives.gradient_cache import backward_in_parts, split_batch
from mmer.objectives.multitask import multitask_loss

SIDES = ("single", "plain", "cached")
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
    """Seconds of a step after a warm-up, and peak memory in GB of the process or the GPU."""
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
    parts = split_batch(inputs, micro)[: 1 if side == "single" else None]

    def step() -> None:
        if side == "cached":
            summarize = lambda part: model(**part).summary  # noqa: E731
            loss_of, frozen = partial(multitask_loss, model.config), model.frozen_modules()
            backward_in_parts(parts, summarize, loss_of, Tensor.backward, frozen=frozen)
        else:
            for part in parts:
                (model(**part).loss / len(parts)).backward()
        model.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    model(**parts[0]).loss.backward()
    model.zero_grad()
    start = time.perf_counter()
    step()
    seconds = time.perf_counter() - start
    memory = (
        torch.cuda.max_memory_allocated()
        if device == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {"seconds": seconds, "gigabytes": memory / 1e9}


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
        print(f"{side:7} {found[side]['seconds']:8.2f} s  {found[side]['gigabytes']:.3f} GB", flush=True)
    time_ratio = found["cached"]["seconds"] / found["plain"]["seconds"]
    memory_ratio = found["cached"]["gigabytes"] / found["single"]["gigabytes"]
    print(
        f"batch {arguments.batch} in parts of {arguments.micro}: {memory_ratio:.2f} x the memory of one part,"
    )
    print(f"{time_ratio:.2f} x the time of plain accumulation")


if __name__ == "__main__":
    main()
