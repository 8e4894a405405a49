"""What a frozen text encoder costs with the cache of its hidden states, against features handed in.

Both sides train the same network on the same made utterances (4 to 40 words, 2 s of noise) in turn, in one process: one
reads the transcripts with a text encoder of roberta-base's shape (random weights, 124 million) through the cache of
`mmer.training.text_cache`, the other is given its hidden states from memory. Of each side, the time of the fastest first
and the fastest later epoch, since other work on the machine only adds to them; without the second view, whose words are
others in each epoch when they are changed on the fly. Once with the paper's fusion and a `compact` speech encoder, once
reading alone, where there is next to nothing to compute beside the cache.

    python benchmarks/text_cache.py [--utterances 256] [--epochs 8] [--rounds 2]
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, RobertaConfig, TrainerCallback, set_seed

from mmer.model.build import build_model
from mmer.model.compact import compact_tokenizer
from mmer.recipe import CompactText, Recipe, load_recipe
from mmer.training.data import Collator, FeatureStore, Item, SpeechEmotionDataset
from mmer.training.preparation import Preparation, prepare
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


class Clock(TrainerCallback):
    """Seconds of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self._began)


def epochs(recipe: Recipe, preparation: Preparation, folder: Path, cached: bool) -> list[float]:
    """Seconds of each epoch of one side."""
    set_seed(0)
    train = preparation.part("train")
    model, processor = build_model(recipe, train, preparation.labels)
    store = FeatureStore(processor)
    data = SpeechEmotionDataset(train, store, recipe, training=True)
    collator: Any = Collator(processor)
    if not cached:
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
    clock = Clock()
    MMERTrainer(model, recipe, data, None, collator, folder, [clock]).train()
    return clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--utterances", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = make_corpus(folder, arguments.utterances)
        for fusion in ("mmer", "text"):
            seconds: dict[bool, list[list[float]]] = {False: [], True: []}
            for number in range(arguments.rounds):
                for cached in (False, True):
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
                    run = folder / f"{fusion}{number}{cached}"
                    seconds[cached].append(epochs(recipe, prepare(recipe), run, cached))
            first = {side: min(run[0] for run in runs) for side, runs in seconds.items()}
            later = {side: min(min(run[1:]) for run in runs) for side, runs in seconds.items()}
            print(
                f"{fusion}: first epoch {first[True]:.2f} s against {first[False]:.2f} s with features handed in; "
                f"later ones {later[True]:.3f} s against {later[False]:.3f} s: {later[True] / later[False]:.3f} x",
                flush=True,
            )


if __name__ == "__main__":
    main()
