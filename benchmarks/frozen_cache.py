"""What the cache of a frozen speech encoder costs to fill, and what an epoch costs afterward.

Noise of 1 to 4 s is heard by an encoder of wav2vec2-base's shape (random weights, 94 million). The encoder of
`transformers` runs on each clip, and the cache of `mmer.training.speech_cache` is filled with the same clips, one clip
of each side after the other, so that other work on the machine disturbs both. Then MMER of the recipe `laptop` trains
above the stored hidden states of all layers, without changed copies for second views.

    OMP_NUM_THREADS=1 python benchmarks/frozen_cache.py [--clips 32] [--epochs 3]
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
from mmer.training.data import Collator, SpeechEmotionDataset
from mmer.training.feature_store import FeatureStore, TrainingUtterance
from mmer.training.frozen_speech import FrozenSpeech
from mmer.training.preparation import prepare
from mmer.training.speech_cache import SpeechCache
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = load_recipe(
            "laptop",
            [
                f"data.corpus={make_corpus(folder, arguments.clips)}",
                f"model.speech.encoder={folder / 'encoder'}",
                "augment.speech.variants=0",
                "protocol={validation: 0, selection: last, test: ['7']}",
                f"training={{epochs: {arguments.epochs}, report_to: []}}",
            ],
        )
        preparation = prepare(recipe)
        train = preparation.part("train")
        set_seed(0)
        model, processor = build_model(recipe, train, preparation.labels)
        assert model.speech_encoder is not None
        bare = AutoModel.from_pretrained(folder / "encoder").eval()
        store = FeatureStore(processor, 0)
        cache = SpeechCache(folder / "cache", model.speech_encoder, 20e9)
        frozen = FrozenSpeech(cache, store, recipe, {})
        utterances = TrainingUtterance.with_sound(train)
        clock, processor_time = [], []
        seconds = sum(utterance.duration or 0 for utterance in utterances)
        for utterance in utterances:
            began = time.perf_counter(), time.process_time()
            with torch.no_grad():
                bare(torch.from_numpy(store(utterance))[None])
            between = time.perf_counter(), time.process_time()
            frozen.fill([(utterance, None)], lambda _: None)
            ended = time.perf_counter(), time.process_time()
            clock.append((between[0] - began[0], ended[0] - between[0]))
            processor_time.append((between[1] - began[1], ended[1] - between[1]))
        del bare
        size = sum(file.stat().st_size for file in (folder / "cache").rglob("*.npy"))
        print(f"{len(utterances)} clips, {seconds:.0f} s of sound, {size / 1e6:.0f} MB of hidden states")
        for what, pairs in (("clock", clock), ("processor", processor_time)):
            encoder, filled = (sum(pair[side] for pair in pairs) for side in (0, 1))
            ratio = median(pair[1] / pair[0] for pair in pairs)
            print(
                f"{what}: encoder {encoder:.1f} s, filling the cache {filled:.1f} s, {filled / encoder:.2f} x; "
                f"median of the clips {ratio:.2f} x"
            )
        epochs = Epochs()
        data = SpeechEmotionDataset(train, store, recipe, frozen=frozen, training=True)
        MMERTrainer(model, recipe, data, None, Collator(processor), folder / "run", [epochs]).train()
        later = median(epochs.seconds[1:])
        print(f"a later epoch {later:.1f} s, {1000 * later / seconds:.0f} ms for a second of sound")
        print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB of memory at most")


if __name__ == "__main__":
    main()
