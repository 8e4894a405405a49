"""A corpus of tones: the emotion is in the pitch, and half of it in the words."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from commands import undrawn
from tiny import speech_config, text_config
from transformers import AutoModel, Wav2Vec2FeatureExtractor

from mmer.corpora.corpus import Corpus
from mmer.model.encoders.compact import compact_tokenizer
from mmer.recipe.model import CompactText
from mmer.recipe.schema import Recipe, load_recipe

EMOTIONS = {"angry": (440, "no never go"), "calm": (150, "yes we stay"), "sad": (250, "no it is gone")}
SPEAKERS = ("A", "B", "C", "D")
RATE = 16_000

TINY = """
model:
  num_attention_heads: 2
  intermediate_size: 48
  speech:
    compact: {hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 48}
  text:
    compact: {hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 48}
training: {epochs: 3, batch_size: 6, learning_rate: 3.0e-3}
augment: {speech: {pitch_semitones: [0, 0], time_stretch: [1, 1], band_filter: false}}  # noise and level cost little
protocol: {test: [D], validation: [C]}
"""


def tone(pitch: float, seconds: float, seed: int) -> np.ndarray:
    """(samples,) a harmonic tone in a little noise."""
    time = np.arange(round(seconds * RATE)) / RATE
    sound = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in (1, 2, 3))
    return (0.2 * sound + 0.01 * np.random.default_rng(seed).standard_normal(len(time))).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def without_pictures() -> Iterator[None]:
    with undrawn():
        yield


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table of 36 recordings: three emotions, four speakers, three takes of 0.4-0.9 s each."""
    folder = tmp_path_factory.mktemp("tones")
    rows = []
    for speaker in SPEAKERS:
        for emotion, (pitch, words) in EMOTIONS.items():
            for take in range(3):
                name = f"{speaker}_{emotion}_{take}"
                seed = len(rows)
                clip = tone(pitch * (1 + 0.05 * SPEAKERS.index(speaker)), 0.4 + 0.05 * (seed % 11), seed)
                soundfile.write(folder / f"{name}.wav", clip, RATE)
                rows.append(
                    {
                        "utterance_id": name,
                        "audio_path": f"{name}.wav",
                        "transcript": words,
                        "emotion": emotion,
                        "speaker": speaker,
                    }
                )
    path = folder / "corpus.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.fixture
def corpus(tones: Path) -> Corpus:
    return Corpus.read(tones)


@pytest.fixture(scope="session")
def tiny(tones: Path) -> Callable[..., Recipe]:
    """Makes a recipe of a very small model on the tones."""
    path = tones.parent / "tiny.yaml"
    path.write_text(TINY)

    def make(*overrides: str, corpus: Path = tones) -> Recipe:
        return load_recipe(str(path), [f"data.corpus={corpus}", *overrides])

    return make


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small text encoder with random weights, as a user would have downloaded it."""
    folder = tmp_path_factory.mktemp("reader")
    tokenizer = compact_tokenizer([words for _, words in EMOTIONS.values()], CompactText(vocabulary_size=90))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    AutoModel.from_config(text_config(32)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small WavLM with random weights, as a user would have downloaded it."""
    folder = tmp_path_factory.mktemp("listener")
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    torch.manual_seed(2)
    AutoModel.from_config(speech_config("wavlm-group")).save_pretrained(folder)
    return folder
