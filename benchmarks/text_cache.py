"""What a frozen text encoder costs with the cache of its hidden states, against features handed in.

Two trainings of the same network on the same made utterances (4 to 40 words, 2 s of noise) take turns, an epoch each,
in one process: one reads the transcripts with a text encoder of roberta-base's shape (random weights, 124 million)
through the cache of `mmer.training.data.text_cache`, the other is given its hidden states from memory. Printed are the
first epoch of each, the medians of the later ones, and the median of the ratio of one epoch to that of the other
beside it, by the clock and in processor time, which other work on the machine disturbs less. There is no second view:
its words, changed on the fly, are others in each epoch. Once with the paper's fusion and a `compact` speech encoder,
once reading alone, where there is next to nothing to compute beside the cache.

    python benchmarks/text_cache.py [--utterances 128] [--epochs 10]
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from threading import Semaphore, Thread
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, RobertaConfig, TrainerCallback, set_seed

from mmer.model.build import build_model
from mmer.model.encoders.compact import compact_tokenizer
from mmer.recipe.model import CompactText
from mmer.recipe.schema import Recipe, load_recipe
from mmer.training.data.dataset import Collator, FeatureStore, Item, SpeechEmotionDataset
from mmer.training.data.preparation import Preparation, prepare
from mmer.training.trainer import MMERTrainer

EMOTIONS = ("angry", "happy", "neutral", "sad")


def make_corpus(folder: Path, utterances: int) -> Path:
    """Random words and noise."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("aeioubdgklmnprst"), 5)) for _ in range(1000)]
    rows = []
    for number in range(utterances):
        soundfile.write(folder / f"{number}.wav", 0.1 * rng.standard_normal(32_000), 16_000)
        rows.append(
            {
                "utterance_id": str(number),
                "audio_path": f"{number}.wav",
                "transcript": " ".join(rng.choice(words, rng.integers(4, 41))),
                "emotion": EMOTIONS[number % 4],
                "speaker": str(number % 8),
            }
        )
    pd.DataFrame(rows).to_parquet(folder / "corpus.parquet")
    compact_tokenizer([row["transcript"] for row in rows], CompactText(vocabulary_size=5000)).save_pretrained(
        folder / "reader"
    )
    torch.manual_seed(0)
    config = RobertaConfig(vocab_size=50_265, max_position_embeddings=514)
    AutoModel.from_config(config).save_pretrained(folder / "reader")
    return folder / "corpus.parquet"


class HandedIn:
    """A collator that gives the model hidden states from memory."""

    def __init__(self, collator: Collator, states: dict[str, torch.Tensor]) -> None:
        self.processor, self.states = collator.processor, states
        self.listening = Collator(collator.processor)

    def __call__(self, items: Sequence[Item]) -> dict[str, Any]:
        self.processor.uses_text = False
        batch = self.listening(items)
        self.processor.uses_text = True
        rows = [self.states[item["utterance_id"]] for item in items]
        lengths = torch.tensor([len(row) for row in rows])
        batch["text_hidden_states"] = pad_sequence(rows, batch_first=True)
        batch["text_attention_mask"] = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
        return batch


class Turns(TrainerCallback):
    """Seconds of each epoch, by the clock and of the processor; an epoch begins when the other side's is saved.

    Args:
        mine, others: whose turn it is.
    """

    def __init__(self, mine: Semaphore, others: Semaphore) -> None:
        self.mine, self.others = mine, others
        self.seconds: list[tuple[float, float]] = []
        self._began = 0.0, 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self.mine.acquire()
        self._began = time.perf_counter(), time.process_time()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        clock, processor = self._began
        self.seconds.append((time.perf_counter() - clock, time.process_time() - processor))

    def on_save(self, *_: Any, **__: Any) -> None:
        self.others.release()


def make_trainer(recipe: Recipe, preparation: Preparation, folder: Path, turns: Turns) -> MMERTrainer:
    """One side; features are handed in where the recipe has no cache."""
    set_seed(0)
    train = preparation.part("train")
    model, processor = build_model(recipe, train, preparation.labels)
    store = FeatureStore(processor)
    data = SpeechEmotionDataset(train, store, recipe, training=True)
    collator: Any = Collator(processor)
    if not recipe.training.text_cache_gb:
        states = {}
        assert model.text_encoder is not None
        reader = model.text_encoder.eval()
        with torch.no_grad():
            for utterance in data.utterances:
                tokens = processor.tokenize([utterance.transcript])
                states[utterance.utterance_id] = reader(*tokens.values())[0]
        collator = HandedIn(collator, states)
    if processor.uses_speech:
        for utterance in data.utterances:
            store(utterance)
    return MMERTrainer(model, recipe, data, None, collator, folder, [turns])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--utterances", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = make_corpus(folder, arguments.utterances)
        for fusion in ("mmer", "text"):
            first, second = Semaphore(1), Semaphore(0)
            sides = {True: Turns(first, second), False: Turns(second, first)}
            trainers = []
            for cached, turns in sides.items():
                recipe = load_recipe(
                    "compact",
                    [
                        f"data.corpus={corpus}",
                        "protocol={validation: 0, selection: last, test: ['7']}",
                        f"model.fusion={fusion}",
                        f"model.text={{encoder: {folder / 'reader'}, train: frozen}}",
                        "model.num_attention_heads=12",
                        "model.speech.normalization=utterance",
                        "objectives.augmented_contrastive_weight=0",
                        f"training.epochs={arguments.epochs}",
                        f"training.text_cache_gb={int(cached)}",
                    ],
                )
                run = folder / f"{fusion}{cached}"
                trainers.append(make_trainer(recipe, prepare(recipe), run, turns))
            threads = [Thread(target=trainer.train) for trainer in trainers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for kind, what in enumerate(("clock", "processor")):
                cached, handed_in = ([each[kind] for each in sides[side].seconds] for side in (True, False))
                ratios = [one / other for one, other in zip(cached[1:], handed_in[1:], strict=True)]
                print(
                    f"{fusion}, {what}: first epoch {cached[0]:.2f} s against {handed_in[0]:.2f} s; later ones "
                    f"{median(cached[1:]):.3f} s against {median(handed_in[1:]):.3f} s, {median(ratios):.3f} x",
                    flush=True,
                )


if __name__ == "__main__":
    main()
