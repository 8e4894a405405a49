"""What `mmer adapt` gains with a published model on a new voice: its last layer alone, and fine-tuned by LoRA.

    python benchmarks/adapt_published.py OUT --corpus CORPUS --speakers EB0 KS0 [--clips 20] [--epochs 8]

Published weights cannot always be had, so one is made: a small w2v-BERT classifier learns from all clips of the other
speakers, and is saved as transformers does. Each row is a new voice, of which `--clips` clips of each emotion are drawn
to adapt to. Printed is balanced accuracy on its other clips. What is done is not done again.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from adapt import accuracy, drawn
from torch.nn import functional as F
from transformers import (
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForSequenceClassification,
)

from mmer.audio.load import load_audio
from mmer.corpora.corpus import Corpus
from mmer.training.adaptation.adapt_published import adapt_published
from mmer.training.adaptation.published_adaptation import FILE

BATCH, RATE = 16, 5e-4


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--speakers", nargs="+", required=True)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    table = Corpus.read(given.corpus).table
    print("| voice | as published | last layer | fine-tuned | steps |\n|---|---|---|---|---|", flush=True)
    for speaker in given.speakers:
        folder = given.out / speaker
        folder.mkdir(parents=True, exist_ok=True)
        own = Corpus(table[table["speaker"] == speaker].sample(frac=1, random_state=0).reset_index(drop=True))
        adapted_to, others = drawn(own, given.clips)
        few = folder / f"few {given.clips}.parquet"
        adapted_to.write(few)
        published = made(folder / "published", table[table["speaker"] != speaker], given.epochs)
        models = [published]
        for train in ("frozen", "lora"):
            out = folder / f"{train} {given.clips}"
            models.append(adapt_published(published, few, out, [f"model.speech.train={train}"]))
        steps = json.loads((models[-1].parent / FILE).read_text())["steps"]
        said = " | ".join(f"{accuracy(model, others):.1%}" for model in models)
        print(f"| {speaker} | {said} | {steps} |", flush=True)


def made(folder: Path, table: pd.DataFrame, epochs: int) -> Path:
    """Train a small classifier on clips, unless the folder holds it, and save it as transformers does."""
    if (folder / "config.json").exists():
        return folder
    labels = sorted(set(table["emotion"]))
    torch.manual_seed(0)
    model = Wav2Vec2BertForSequenceClassification(
        Wav2Vec2BertConfig(
            hidden_size=144,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=576,
            classifier_proj_size=144,
            apply_spec_augment=True,
            mask_time_length=5,
            layerdrop=0.0,
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
        )
    )
    extractor = SeamlessM4TFeatureExtractor()
    sounds = [
        extractor(load_audio(path), sampling_rate=16_000, return_tensors="np")["input_features"][0]
        for path in table["audio_path"]
    ]
    classes = torch.tensor([labels.index(emotion) for emotion in table["emotion"]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    total = epochs * (len(sounds) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=total)
    generator = np.random.default_rng(0)
    model.train()
    for epoch in range(epochs):
        order, losses = generator.permutation(len(sounds)), []
        for start in range(0, len(sounds) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            longest = max(len(sounds[row]) for row in rows)
            inputs, mask = np.zeros((BATCH, longest, 160), np.float32), np.zeros((BATCH, longest), np.int64)
            for place, row in enumerate(rows):
                inputs[place, : len(sounds[row])], mask[place, : len(sounds[row])] = sounds[row], 1
            logits = model(torch.from_numpy(inputs), attention_mask=torch.from_numpy(mask)).logits
            loss = F.cross_entropy(logits, classes[rows])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: cross-entropy {np.mean(losses):.2f}", flush=True)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
