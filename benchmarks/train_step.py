"""Time of one optimizer step of the paper's network at full size, against another network, in turns in one process.

2 utterances of 5 s, both views, 20 tokens, shapes of wav2vec2-base with random weights, text features handed in as in
the published code; all four objectives, gradients, AdamW. The other network is wav2vec2 of transformers alone, forward
and backward over the same four clips without an optimizer. With `--against FOLDER`, a checkout of the published code,
it is the network of `src/mmi_module.py`: each view in turn, cross-entropy and CTC, gradients, AdamW. Its contrastive
objectives, in a file that needs a GPU to be imported, are replaced by the squared size of what they compare.

    python benchmarks/train_step.py [--steps 5] [--device cuda] [--activation-checkpointing cheap] [--against FOLDER]

`--sides float32` measures one side alone, and the peak memory of its process or of the GPU.
"""

import argparse
import importlib
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, get_args

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

from mmer.model import MMERConfig, MMERForEmotionRecognition
from mmer.model.dropout import quicken_dropout
from mmer.model.encoders.activation_checkpointing import enable_activation_checkpointing
from mmer.recipe.values import ActivationCheckpointing

UTTERANCES, SECONDS, TOKENS, CHARACTERS, SYMBOLS, EMOTIONS = 2, 5, 20, 60, 32, 4
OTHER = "other"
SPEECH = Wav2Vec2Config(apply_spec_augment=False)
Batch = dict[str, Tensor]
Step = Callable[[], None]


def make_batch(device: str) -> Batch:
    """Random inputs of both views."""
    generator = torch.Generator().manual_seed(0)
    batch: Batch = {"labels": torch.arange(UTTERANCES)}
    batch["ctc_labels"] = torch.randint(5, SYMBOLS, (UTTERANCES, CHARACTERS), generator=generator)
    for prefix in ("", "augmented_"):
        batch[f"{prefix}input_values"] = torch.randn(UTTERANCES, SECONDS * 16_000, generator=generator)
        batch[f"{prefix}text_hidden_states"] = 0.3 * torch.randn(UTTERANCES, TOKENS, 768, generator=generator)
    return {name: tensor.to(device) for name, tensor in batch.items()}


def optimizer_of(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([each for each in network.parameters() if each.requires_grad], 1e-5, fused=True)


def mmer_step(batch: Batch, device: str, precision: str, checkpointing: ActivationCheckpointing) -> Step:
    torch.manual_seed(0)
    config = MMERConfig(
        speech_config=SPEECH, hidden_size=768, id2label={number: str(number) for number in range(EMOTIONS)}
    )
    model = MMERForEmotionRecognition(config).train()
    model.to(device=torch.device(device))  # pyright: ignore[reportCallIssue]
    enable_activation_checkpointing(model, checkpointing)
    quicken_dropout(model)
    optimizer = optimizer_of(model)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def bare_step(batch: Batch, device: str) -> Step:
    """Make the step of the speech encoder alone, whose convolutions are frozen."""
    encoder = Wav2Vec2Model(SPEECH).train()
    encoder.to(device=torch.device(device))  # pyright: ignore[reportCallIssue]
    encoder.freeze_feature_encoder()
    clips = torch.cat([batch["input_values"], batch["augmented_input_values"]])

    def step() -> None:
        encoder(clips).last_hidden_state.mean().backward()
        encoder.zero_grad()

    return step


def published_step(folder: Path, batch: Batch, device: str) -> Step:
    """Make the step of the published network, with random weights of its own."""
    sys.path.insert(0, str(folder / "src"))
    module: Any = importlib.import_module("mmi_module")
    module.Wav2Vec2Model = Untrained  # its weights are on a hub
    if device == "cpu":
        setattr(Tensor, "cuda", lambda tensor: tensor)  # noqa: B010, it asks for a GPU by name
    network = module.MMI_Model(module.BertConfig(30_522), SYMBOLS, EMOTIONS).train().to(device)
    optimizer = optimizer_of(network)
    mask = torch.ones(UTTERANCES, TOKENS, device=device)
    lengths = torch.full((UTTERANCES,), SECONDS * 16_000)

    def step() -> None:
        loss = torch.zeros((), device=device)
        for prefix, augmented in (("", False), ("augmented_", True)):
            text, clips = batch[f"{prefix}text_hidden_states"], batch[f"{prefix}input_values"]
            ctc_labels, labels = batch["ctc_labels"], batch["labels"]
            _, fused, cross_entropy, ctc = network(
                text, mask, clips, lengths, ctc_labels, labels, augmentation=augmented
            )
            loss = (
                loss + fused.square().mean()
            )  # the gradient that the contrastive objectives would send back
            if not augmented:
                loss = loss + cross_entropy + 0.1 * ctc
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


class Untrained:
    @staticmethod
    def from_pretrained(*_: Any, **__: Any) -> Wav2Vec2Model:
        config = Wav2Vec2Config(apply_spec_augment=False, output_hidden_states=True)
        config._attn_implementation = "eager"  # of the transformers that the code was written for
        return Wav2Vec2Model(config)


def seconds(step: Step, device: str) -> float:
    """Time a step; on a GPU, until it has finished."""
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sides = (OTHER, "float32", "bfloat16")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="checkout of the published code")
    parser.add_argument("--sides", nargs="+", choices=sides, default=sides)
    parser.add_argument(
        "--activation-checkpointing",
        choices=get_args(ActivationCheckpointing),
        default="none",
        help="training.activation_checkpointing",
    )
    options = parser.parse_args()
    device = options.device
    batch = make_batch(device)

    def prepared(side: str) -> Step:
        if side != OTHER:
            return mmer_step(batch, device, side, options.activation_checkpointing)
        return published_step(options.against, batch, device) if options.against else bare_step(batch, device)

    steps = {side: prepared(side) for side in options.sides}
    for step in steps.values():  # the first allocates
        step()
    rounds = [{side: seconds(step, device) for side, step in steps.items()} for _ in range(options.steps)]
    where = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"PyTorch {torch.__version__}, {platform.machine()}, {where}")
    other = "published code" if options.against else "wav2vec2 alone, forward and backward"
    for side in steps:
        line = f"{other if side == OTHER else side}: {median(each[side] for each in rounds):.3f} s a step"
        if OTHER in steps and side != OTHER:
            ratios = sorted(each[side] / each[OTHER] for each in rounds)
            line += f", {median(ratios):.2f} of the {other} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(line)
    if len(steps) == 1:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(f"{(torch.cuda.max_memory_allocated() if device == 'cuda' else peak) / 1e9:.2f} GB at most")


if __name__ == "__main__":
    main()
