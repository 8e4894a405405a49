"""What the cache of a frozen speech encoder costs to fill, and what an epoch costs afterward.

Noise of 1 to 4 s is heard by an encoder of wav2vec2-base's shape (random weights, 94 million). The encoder of
`transformers` runs on each clip, and the cache of `mmer.training.data.speech_cache` is filled with the same clips, one
clip of each side after the other, so that other work on the machine disturbs both. Then MMER of the recipe `laptop`
trains above the stored hidden states of all layers, without changed copies for second views.

    OMP_NUM_THREADS=1 python benchmarks/frozen_cache.py [--clips 32] [--epochs 3]

With `--last N`, the last N layers learn instead (`model.speech.train: last:N`), above what the frozen ones make of each
clip. An epoch is measured with that stored and without.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import torch
from transformers import AutoModel, TrainerCallback, Wav2Vec2Config, Wav2Vec2FeatureExtractor, set_seed

from mmer.model.build import build_model
from mmer.recipe.schema import load_recipe
from mmer.training.data.dataset import Collator, SpeechEmotionDataset
from mmer.training.data.feature_store import FeatureStore, TrainingUtterance
from mmer.training.data.frozen_speech import FrozenSpeech
from mmer.training.data.preparation import prepare
from mmer.training.data.speech_cache import SpeechCache
from mmer.training.trainer import MMERTrainer

EMOTIONS = ("angry", "happy", "neutral", "sad")


def make_corpus(folder: Path, clips: int) -> Path:
    """Noise of 1 to 4 s, and an encoder."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(clips):
        samples = int(rng.integers(16_000, 64_000))
        soundfile.write(folder / f"{number}.wav", 0.1 * rng.standard_normal(samples), 16_000)
        rows.append(
            {
                "utterance_id": str(number),
                "audio_path": f"{number}.wav",
                "transcript": "so it is what it is",
                "emotion": EMOTIONS[number % 4],
                "speaker": str(number % 8),
            }
        )
    pd.DataFrame(rows).to_parquet(folder / "corpus.parquet")
    torch.manual_seed(0)
    AutoModel.from_config(Wav2Vec2Config()).save_pretrained(folder / "encoder")
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder / "encoder")
    return folder / "corpus.parquet"


class Epochs(TrainerCallback):
    """Seconds of each epoch, judging and saving left out."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self._began)


class Run:
    """The recipe `laptop` above an encoder of a folder."""

    def __init__(self, folder: Path, clips: int, epochs: int, *settings: str) -> None:
        self.folder = folder
        corpus = folder / "corpus.parquet"
        self.recipe = load_recipe(
            "laptop",
            [
                f"data.corpus={corpus if corpus.exists() else make_corpus(folder, clips)}",
                f"model.speech.encoder={folder / 'encoder'}",
                "augment.speech.variants=0",
                "protocol={validation: 0, selection: last, test: ['7']}",
                f"training={{epochs: {epochs}, report_to: []}}",
                *settings,
            ],
        )
        preparation = prepare(self.recipe)
        self.train = preparation.part("train")
        set_seed(0)
        self.model, self.processor = build_model(self.recipe, self.train, preparation.labels)
        assert self.model.speech_encoder is not None
        self.store = FeatureStore(self.processor, 0)
        cache = SpeechCache(folder / "cache", self.model.speech_encoder, 20e9)
        self.frozen = FrozenSpeech(cache, self.store, self.recipe, {})
        self.utterances = TrainingUtterance.with_sound(self.train)
        self.seconds = sum(utterance.duration or 0 for utterance in self.utterances)

    def later_epoch(self, *, stored: bool = True) -> float:
        """Train, and return the median of the seconds of an epoch after the first."""
        epochs, frozen = Epochs(), self.frozen if stored else None
        data = SpeechEmotionDataset(self.train, self.store, self.recipe, frozen=frozen, training=True)
        collator, folder = Collator(self.processor), self.folder / f"run{stored}"
        MMERTrainer(self.model, self.recipe, data, None, collator, folder, [epochs]).train()
        return median(epochs.seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--last", type=int)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if arguments.last is None:
            measure_frozen(Run(Path(name), arguments.clips, arguments.epochs))
        else:
            settings = [f"model.speech.train=last:{arguments.last}", "model.speech.layers=last"]
            measure_last(Path(name), arguments.clips, arguments.epochs, settings)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB of memory at most")


def measure_frozen(run: Run) -> None:
    """Print what filling the cache and an epoch cost."""
    bare = AutoModel.from_pretrained(run.folder / "encoder").eval()
    clock, processor_time = [], []
    for utterance in run.utterances:
        began = time.perf_counter(), time.process_time()
        with torch.no_grad():
            bare(torch.from_numpy(run.store(utterance))[None])
        between = time.perf_counter(), time.process_time()
        run.frozen.fill([(utterance, None)], lambda _: None)
        ended = time.perf_counter(), time.process_time()
        clock.append((between[0] - began[0], ended[0] - between[0]))
        processor_time.append((between[1] - began[1], ended[1] - between[1]))
    del bare
    size = sum(file.stat().st_size for file in (run.folder / "cache").rglob("*.npy"))
    print(f"{len(run.utterances)} clips, {run.seconds:.0f} s of sound, {size / 1e6:.0f} MB of hidden states")
    for what, pairs in (("clock", clock), ("processor", processor_time)):
        encoder, filled = (sum(pair[side] for pair in pairs) for side in (0, 1))
        ratio = median(pair[1] / pair[0] for pair in pairs)
        print(
            f"{what}: encoder {encoder:.1f} s, filling the cache {filled:.1f} s, {filled / encoder:.2f} x; "
            f"median of the clips {ratio:.2f} x"
        )
    later = run.later_epoch()
    print(f"a later epoch {later:.1f} s, {1000 * later / run.seconds:.0f} ms for a second of sound")


def measure_last(folder: Path, clips: int, epochs: int, settings: list[str]) -> None:
    """Print what an epoch costs where the last layers learn, without and with the cache."""
    without = Run(folder, clips, epochs, *settings).later_epoch(stored=False)
    run = Run(folder, clips, epochs, *settings)
    began = time.perf_counter()
    run.frozen.fill([(utterance, None) for utterance in run.utterances], lambda _: None)
    filled = time.perf_counter() - began
    stored = run.later_epoch()
    print(
        f"{len(run.utterances)} clips, {run.seconds:.0f} s of sound: an epoch takes {without:.1f} s, and "
        f"{stored:.1f} s with the cache, {without / stored:.2f} x; filling it takes {filled:.1f} s once"
    )


if __name__ == "__main__":
    main()
