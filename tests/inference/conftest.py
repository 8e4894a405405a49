"""Small random models, saved as model folders, and real recordings to ask them about."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tiny import speech_config, tiny_model
from transformers import (
    GenerationConfig,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from mmer.inference import EmotionRecognizer
from mmer.inference.backends.export import export_onnx
from mmer.model import MMERProcessor
from mmer.model.encoders.compact import compact_text_config, compact_tokenizer
from mmer.model.encoders.convolutions import receptive_field
from mmer.recipe.model import CompactText
from mmer.text.ctc_alphabet import WAV2VEC2_ALPHABET

SHORTEST_LOG_MEL = 880  # samples of four log-mel frames
LABELS = ["angry", "happy", "neutral", "sad"]
SENTENCES = [
    "The train leaves at nine.",
    "I never said that!",
    "What a day, what a day.",
    "nie wiem, co robić",
]


def save_model(
    folder: Path,
    *,
    speech: str = "wav2vec2-group",
    fusion: str = "mmer",
    missing_modality_embeddings: bool = False,
    layers: int = 2,
    **settings: Any,
) -> Path:
    """A random model of that kind, its speech encoder of so many layers; `settings` are the processor's."""
    sizes = CompactText(hidden_size=24, num_hidden_layers=1, num_attention_heads=2, vocabulary_size=60)
    tokenizer = compact_tokenizer(SENTENCES, sizes)
    log_mel = speech == "wav2vec2-bert"
    model = tiny_model(
        speech,
        text_config=None if fusion == "speech" else compact_text_config(sizes, tokenizer),
        speech_config=None if fusion == "text" else speech_config(speech, num_hidden_layers=layers),
        fusion=fusion,
        missing_modality_embeddings=missing_modality_embeddings,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    processor = MMERProcessor(
        SeamlessM4TFeatureExtractor() if log_mel else Wav2Vec2FeatureExtractor(return_attention_mask=True),
        tokenizer,
        labels=LABELS,
        minimum_samples=SHORTEST_LOG_MEL if log_mel else receptive_field(speech_config(speech)),
        uses_speech=fusion != "text",
        uses_text=fusion != "speech",
        missing_modality_embeddings=missing_modality_embeddings,
        **{"max_duration": 10.0, **settings},
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random MMER model on waveforms."""
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def recognizer(model_folder: Path) -> EmotionRecognizer:
    """Of `model_folder`."""
    return EmotionRecognizer.from_pretrained(model_folder, device="cpu")


@pytest.fixture(scope="session")
def versatile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random MMER model with missing-modality embeddings."""
    return save_model(tmp_path_factory.mktemp("versatile"), missing_modality_embeddings=True)


@pytest.fixture(scope="session")
def versatile(versatile_folder: Path) -> EmotionRecognizer:
    """Of `versatile_folder`."""
    return EmotionRecognizer.from_pretrained(versatile_folder, device="cpu")


@pytest.fixture(scope="session")
def recognizer_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., EmotionRecognizer]:
    """Makes a recognizer of another random model; see `save_model`."""
    return lambda **settings: EmotionRecognizer.from_pretrained(
        save_model(tmp_path_factory.mktemp("model"), **settings), device="cpu"
    )


MadeOnce = Callable[[str, Callable[[Path], object]], Path]


def make_exportable(made_once: MadeOnce) -> Path:
    """A random model on log-mel features, with missing-modality embeddings and a CTC head."""

    def save(folder: Path) -> None:
        save_model(
            folder,
            speech="wav2vec2-bert",
            layers=1,
            missing_modality_embeddings=True,
            ctc_symbols=WAV2VEC2_ALPHABET,
        )

    return made_once("exportable", save)


def make_exported(made_once: MadeOnce) -> Path:
    """The same, exported."""
    model = make_exportable(made_once)

    def export(out: Path) -> None:
        done = export_onnx(model, out)
        assert done.difference < 1e-5
        assert done.size == (out / "model.onnx").stat().st_size

    return made_once("exported", export)


@pytest.fixture(scope="session")
def exportable(made_once: MadeOnce) -> Path:
    """See `make_exportable`."""
    return make_exportable(made_once)


@pytest.fixture(scope="session")
def exported(made_once: MadeOnce) -> Path:
    """See `make_exported`."""
    return make_exported(made_once)


@pytest.fixture(scope="session")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Whisper that says a few letters."""
    folder = tmp_path_factory.mktemp("whisper")
    letters = {letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    times = [f"<|{step / 50:.2f}|>" for step in range(1501)]
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]
    tokenizer = WhisperTokenizer(vocab=letters | {"Ġ": 26}, merges=[], unk_token="a")
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.add_tokens(times)
    end, start, no_times = (tokenizer.get_vocab()[token] for token in special)
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        init_std=1.0,
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
        no_timestamps_token_id=no_times,
        is_multilingual=False,
        return_timestamps=False,  # as the published ones
        max_length=12,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clips(nemo_samples: Path) -> list[str]:
    """Forty recordings of several speakers and lengths."""
    return [str(path) for path in sorted(nemo_samples.glob("*.opus"))[::80]]


def raise_first_logit(folder: Path) -> None:
    """Change the weights of a model folder so that the first logit of every answer is 0.5 higher."""
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"][0] += np.float32(0.5)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
