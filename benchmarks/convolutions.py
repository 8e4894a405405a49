"""Time of the convolutions of wav2vec2-base, rebuilt and as transformers has them, in turns in one process.

The feature extractor runs forward alone, on clips of one length, so that both give the same frames; the positional
convolution runs forward and backward. Random weights; seconds are processor time on a CPU, one thread, and the clock on
a GPU.

    python benchmarks/convolutions.py [--utterances 4] [--seconds 5] [--rounds 5]
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from mmer.model.encoders.convolutions import replace_convolutions
from mmer.model.encoders.positions import PositionalConvolution

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"


def seconds(work: Callable[[], object]) -> float:
    """Time the work; of a GPU, until it has finished."""
    if not CUDA:
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--utterances", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Wav2Vec2Model(Wav2Vec2Config(apply_spec_augment=False)).eval()
    model.to(device=torch.device(DEVICE))  # pyright: ignore[reportCallIssue]
    extractor, rebuilt = model.feature_extractor, copy.deepcopy(model.feature_extractor)
    replace_convolutions(rebuilt)
    positions = model.encoder.pos_conv_embed
    faster = PositionalConvolution(positions)
    waveforms = torch.randn(options.utterances, round(16_000 * options.seconds), device=DEVICE)
    samples = torch.full((options.utterances,), waveforms.shape[1], device=DEVICE)

    def ours() -> Tensor:
        first, *others = rebuilt.conv_layers
        hidden = first(waveforms, samples)
        for layer in others:
            hidden = layer(hidden)
        return hidden

    def learn(convolution: torch.nn.Module) -> None:
        frames = torch.randn(options.utterances, 224, 768, device=DEVICE, requires_grad=True)
        convolution(frames).sum().backward()

    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "feature extractor": (lambda: extractor(waveforms), ours),
        "positional convolution": (lambda: learn(positions), lambda: learn(faster)),
    }
    for name, both in pairs.items():
        for precision in ("float32", "bfloat16"):
            autocast = torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bfloat16")
            with autocast, torch.set_grad_enabled(name != "feature extractor"):
                rounds = [[seconds(work) for work in both] for _ in range(options.rounds + 1)][1:]
            theirs, own = (statistics.median(each) for each in zip(*rounds, strict=True))
            ratio = statistics.median(after / before for before, after in rounds)
            print(f"{name}, {precision}: {1000 * theirs:.1f} ms, rebuilt {1000 * own:.1f} ms, {ratio:.2f}")


if __name__ == "__main__":
    main()
