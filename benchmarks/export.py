"""An exported model beside PyTorch: its size, its speed and its answers on the utterances of a corpus.

The model is exported to ONNX in float and with weights of 8 bits. PyTorch answers the corpus as `mmer predict` does,
and the very batches that its network was given are then answered by the three networks in turn, in one process and with
as many threads. Printed are the size of each, the time of all batches and its ratio to PyTorch's, the largest
difference of a logit, and the share of utterances with the same label.

    python benchmarks/export.py MODEL CORPUS [--every 1] [--batch-size 16]
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from mmer.corpora.corpus import Corpus
from mmer.inference.backends.export import export_onnx
from mmer.inference.backends.network import Inputs, Network, NetworkOutput, Symbols
from mmer.inference.inputs import corpus_utterances
from mmer.inference.recognizer import EmotionRecognizer


class Kept(Network):
    """A network that keeps what it was asked."""

    def __init__(self, network: Network) -> None:
        self.network, self.device = network, network.device
        self.batches: list[Inputs] = []

    def _answer(self, inputs: Inputs, read: Callable[[Symbols], Inputs] | None) -> NetworkOutput:
        self.batches.append(dict(inputs))
        return self.network.answer(inputs, read)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        return self.network.probabilities(logits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take every n-th utterance")
    parser.add_argument("--batch-size", type=int, default=16)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))

    utterances = corpus_utterances(Corpus.read(options.corpus))[:: options.every]
    asked = EmotionRecognizer.from_pretrained(options.model, "cpu")
    asked.network = kept = Kept(asked.network)
    answered = sum(
        prediction.error is None for prediction in asked.predict(utterances, batch_size=options.batch_size)
    )
    with TemporaryDirectory() as scratch:
        networks, sizes = {"torch": kept.network}, {}
        for name in ("onnx", "int8"):
            done = export_onnx(options.model, Path(scratch) / name, int8=name == "int8")
            networks[name] = EmotionRecognizer.from_pretrained(done.folder).network
            sizes |= {"torch": done.torch_size, name: done.size}
        seconds = dict.fromkeys(networks, 0.0)
        logits: dict[str, list[np.ndarray]] = {name: [] for name in networks}
        for network in networks.values():
            network.answer(kept.batches[0])
        for inputs in kept.batches:
            for name, network in networks.items():
                start = time.perf_counter()
                answers = network.answer(inputs)
                seconds[name] += time.perf_counter() - start
                logits[name].append(answers.logits)
    rows = {name: np.concatenate(parts) for name, parts in logits.items()}
    print(f"{answered} utterances in batches of {options.batch_size}, {torch.get_num_threads()} threads")
    for name in networks:
        same = (rows[name].argmax(axis=1) == rows["torch"].argmax(axis=1)).mean()
        print(
            f"{name:6s}{sizes[name] / 1e6:9.2f} MB ({sizes[name] / sizes['torch']:.2f})"
            f"{seconds[name]:9.1f} s ({seconds['torch'] / seconds[name]:.2f} times as fast as torch)"
            f"   logits within {np.abs(rows[name] - rows['torch']).max():.2g}, same label {same:.2%}"
        )


if __name__ == "__main__":
    main()
