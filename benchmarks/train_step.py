"""Time and memory of one optimizer step of the paper's network at full size.

wav2vec2-base shapes with random weights, text features handed in as in the published code, 2 utterances of 5 s with
both views, 20 tokens, all four objectives, AdamW. Each precision runs in a process of its own, so that its peak memory
is its own. The published code's figures were measured on a two-core machine of the same kind, not in this run.

    python benchmarks/train_step.py [--steps 5] [--device cuda] [--activation-checkpointing cheap]
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from typing import Any, get_args

import torch
from torch import Tensor
from transformers import Wav2Vec2Config

from mmer.model import MMERConfig, MMERForEmotionRecognition
from mmer.model.encoders.activation_checkpointing import enable_activation_checkpointing
from mmer.recipe.values import ActivationCheckpointing

PUBLISHED_SECONDS = (4.8, 5.5)
PUBLISHED_GB = 4.1
UTTERANCES, SECONDS, TOKENS, CHARACTERS = 2, 5, 20, 60
PRECISIONS = ("float32", "bfloat16")


def make_batch(device: str) -> dict[str, Tensor]:
    """Random inputs of both views."""
    generator = torch.Generator().manual_seed(0)
    batch: dict[str, Tensor] = {"labels": torch.arange(UTTERANCES)}
    batch["ctc_labels"] = torch.randint(5, 32, (UTTERANCES, CHARACTERS), generator=generator)
    for prefix in ("", "augmented_"):
        batch[f"{prefix}input_values"] = torch.randn(UTTERANCES, SECONDS * 16_000, generator=generator)
        batch[f"{prefix}text_hidden_states"] = 0.3 * torch.randn(UTTERANCES, TOKENS, 768, generator=generator)
    return {name: tensor.to(device) for name, tensor in batch.items()}


def measure(
    precision: str, steps: int, device: str, checkpointing: ActivationCheckpointing
) -> dict[str, Any]:
    """Median seconds of a step after one warm-up, and peak memory in GB of the process or the GPU."""
    torch.manual_seed(0)
    config = MMERConfig(
        speech_config=Wav2Vec2Config(apply_spec_augment=False),
        hidden_size=768,
        id2label={i: str(i) for i in range(4)},
    )
    model = MMERForEmotionRecognition(config).train()
    model.to(device=torch.device(device))  # pyright: ignore[reportCallIssue]
    enable_activation_checkpointing(model, checkpointing)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    batch = make_batch(device)
    seconds = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    memory = (
        torch.cuda.max_memory_allocated()
        if device == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {"precision": precision, "seconds": statistics.median(seconds[1:]), "gigabytes": memory / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--activation-checkpointing",
        choices=get_args(ActivationCheckpointing),
        default="none",
        help="training.activation_checkpointing",
    )
    parser.add_argument("--precision", choices=PRECISIONS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.precision:
        print(
            json.dumps(
                measure(
                    arguments.precision, arguments.steps, arguments.device, arguments.activation_checkpointing
                )
            )
        )
        return
    where = (
        torch.cuda.get_device_name() if arguments.device == "cuda" else f"{torch.get_num_threads()} threads"
    )
    print(f"PyTorch {torch.__version__}, {platform.machine()}, {where}")
    for precision in PRECISIONS:
        command = [sys.executable, __file__, "--precision", precision]
        command += ["--steps", str(arguments.steps), "--device", arguments.device]
        command += ["--activation-checkpointing", arguments.activation_checkpointing]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        seconds, gigabytes = result["seconds"], result["gigabytes"]
        line = f"{precision:9} {seconds:.3f} s/step  {1 / seconds:.2f} steps/s  {gigabytes:.2f} GB"
        if arguments.device == "cpu":
            low, high = (seconds / published for published in reversed(PUBLISHED_SECONDS))
            line += f"   {low:.2f}-{high:.2f} of the published code's time, "
            line += f"{gigabytes / PUBLISHED_GB:.2f} of its memory"
        print(line)


if __name__ == "__main__":
    main()
