"""Small random classifiers of the true classes, saved as their authors save them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tiny import speech_config
from torch import nn
from transformers import (
    AlbertConfig,
    ASTConfig,
    ASTFeatureExtractor,
    BartConfig,
    BertConfig,
    CanineConfig,
    ConvBertConfig,
    DistilBertConfig,
    FNetConfig,
    FunnelConfig,
    GPT2Config,
    PreTrainedConfig,
    RobertaConfig,
    SeamlessM4TFeatureExtractor,
    SEWConfig,
    SEWDConfig,
    UniSpeechConfig,
    Wav2Vec2ConformerConfig,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    XLNetConfig,
)

from mmer.errors import CheckpointError
from mmer.inference.recognizer import EmotionRecognizer
from mmer.model.encoders.compact import compact_tokenizer
from mmer.published.speech_head import Wav2Vec2ForSpeechClassification
from mmer.recipe.model import CompactText

LABELS = ["ang", "hap", "neu", "sad", "fru"]
CONVOLUTIONS: dict[str, Any] = {
    "conv_dim": (32,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
DEEPER: dict[str, Any] = {**CONVOLUTIONS, "conv_dim": (32,) * 13}
TEXT_SIZES: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "apply_spec_augment": False,
    "layerdrop": 0.0,
}


def _whisper() -> PreTrainedConfig:
    return WhisperConfig(
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        classifier_proj_size=24,
        vocab_size=20,
        pad_token_id=1,
        bos_token_id=1,
        eos_token_id=1,
        decoder_start_token_id=1,
    )


def _spectrogram_transformer() -> PreTrainedConfig:
    return ASTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        time_stride=64,
        frequency_stride=32,
    )


AUDIO: dict[str, tuple[str, Callable[[], PreTrainedConfig]]] = {
    "wav2vec2-group": ("Wav2Vec2", lambda: speech_config("wav2vec2-group")),
    "wav2vec2-layer": ("Wav2Vec2", lambda: speech_config("wav2vec2-layer")),
    "wav2vec2-weighted": ("Wav2Vec2", lambda: speech_config("wav2vec2-layer", use_weighted_layer_sum=True)),
    "hubert": ("Hubert", lambda: speech_config("hubert-group")),
    "wavlm": ("WavLM", lambda: speech_config("wavlm-group")),
    "unispeech": ("UniSpeech", lambda: UniSpeechConfig(**SIZES, **CONVOLUTIONS)),
    "unispeech-sat": ("UniSpeechSat", lambda: speech_config("unispeech-sat-layer")),
    "data2vec-audio": ("Data2VecAudio", lambda: speech_config("data2vec-audio")),
    "sew": ("SEW", lambda: SEWConfig(**SIZES, **DEEPER)),
    "sew-d": ("SEWD", lambda: SEWDConfig(**SIZES, **DEEPER)),
    "wav2vec2-bert": ("Wav2Vec2Bert", lambda: speech_config("wav2vec2-bert")),
    "wav2vec2-conformer": ("Wav2Vec2Conformer", lambda: Wav2Vec2ConformerConfig(**SIZES, **CONVOLUTIONS)),
    "whisper": ("Whisper", _whisper),
    "spectrogram-transformer": ("AST", _spectrogram_transformer),
}
"""Class of transformers, without what it is for, and configuration of a small one."""


def scale_up(model: nn.Module, seed: int = 0) -> None:
    """Draw weights that are large enough for differences to show."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and "embed_positions" not in name:
                parameter.normal_(std=parameter[0].numel() ** -0.5)


def save_audio_classifier(
    folder: Path, kind: str, *, labels: list[str] = LABELS, do_normalize: bool = True, **settings: Any
) -> Path:
    """Save a classifier of a kind of `AUDIO` with its feature extractor; `settings` go into its config.json."""
    prefix, make = AUDIO[kind]
    config = make()
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    for name, value in settings.items():
        setattr(config, name, value)
    task = "AudioClassification" if prefix in ("Whisper", "AST") else "SequenceClassification"
    model = getattr(transformers, f"{prefix}For{task}")(config)
    scale_up(model)
    model.save_pretrained(folder)
    extractors: dict[str, Callable[[], Any]] = {
        "Whisper": WhisperFeatureExtractor,
        "AST": ASTFeatureExtractor,
        "Wav2Vec2Bert": SeamlessM4TFeatureExtractor,
    }
    masked = getattr(config, "feat_extract_norm", "layer") == "layer"
    plain = lambda: Wav2Vec2FeatureExtractor(return_attention_mask=masked, do_normalize=do_normalize)  # noqa: E731
    extractors.get(prefix, plain)().save_pretrained(folder)
    return folder


def save_short_window(folder: Path) -> Path:
    """Save a classifier of Whisper whose window is two seconds, not half a minute."""
    save_audio_classifier(folder, "whisper", max_source_positions=100)
    WhisperFeatureExtractor(chunk_length=2).save_pretrained(folder)
    return folder


def save_speech_head(folder: Path, outputs: list[str], **settings: Any) -> Path:
    """Save wav2vec 2.0 with the two-layer head, in the layout of audEERING's model of dimensions."""
    config = speech_config("wav2vec2-layer")
    config.id2label = dict(enumerate(outputs))
    config.label2id = {name: number for number, name in enumerate(outputs)}
    for name, value in settings.items():
        setattr(config, name, value)
    model = Wav2Vec2ForSpeechClassification(config)
    scale_up(model)
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder


TEXT: dict[str, Callable[[int], PreTrainedConfig]] = {
    "Bert": lambda size: BertConfig(vocab_size=size, pad_token_id=0, **TEXT_SIZES),
    "Roberta": lambda size: RobertaConfig(vocab_size=size, pad_token_id=0, **TEXT_SIZES),
    "DistilBert": lambda size: DistilBertConfig(
        vocab_size=size, pad_token_id=0, dim=24, n_layers=2, n_heads=2, hidden_dim=48
    ),
    "GPT2": lambda size: GPT2Config(
        vocab_size=size, n_embd=24, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=1
    ),
    "XLNet": lambda size: XLNetConfig(vocab_size=size, d_model=24, n_layer=2, n_head=2, d_inner=48),
    "Albert": lambda size: AlbertConfig(vocab_size=size, pad_token_id=0, embedding_size=24, **TEXT_SIZES),
    "FNet": lambda size: FNetConfig(
        vocab_size=size, pad_token_id=0, hidden_size=24, num_hidden_layers=2, intermediate_size=48
    ),
    "ConvBert": lambda size: ConvBertConfig(vocab_size=size, embedding_size=24, **TEXT_SIZES),
    "Canine": lambda size: CanineConfig(pad_token_id=0, num_hash_buckets=50, **TEXT_SIZES),
    "Funnel": lambda size: FunnelConfig(
        vocab_size=size, pad_token_id=0, d_model=24, n_head=2, d_head=12, d_inner=48, block_sizes=[1, 1, 1]
    ),
    "Bart": lambda size: BartConfig(
        vocab_size=size,
        d_model=24,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        pad_token_id=0,
    ),
}
"""Class of transformers, without what it is for, and configuration of a small one."""
TEXT_LABELS = ["anger", "joy", "neutral", "sadness", "fear"]
SENTENCES = [
    "The train leaves at nine.",
    "I never said that!",
    "What a day, what a day.",
    "nie wiem, co robić",
]


def save_text_classifier(
    folder: Path, kind: str = "Roberta", *, labels: list[str] = TEXT_LABELS, **settings: Any
) -> Path:
    """Save a classifier of a kind of `TEXT` with a tokenizer; `settings` go into its config.json."""
    tokenizer = compact_tokenizer(SENTENCES, CompactText(vocabulary_size=60))
    config = TEXT[kind](len(tokenizer))
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    for name, value in settings.items():
        setattr(config, name, value)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config)
    scale_up(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def as_bin(folder: Path, *, old_names: bool) -> Path:
    """Turn model.safetensors into pytorch_model.bin, with the names of weight normalization of before PyTorch 2.1."""
    weights = load_file(folder / "model.safetensors")
    if old_names:
        old = {
            "parametrizations.weight.original0": "weight_g",
            "parametrizations.weight.original1": "weight_v",
        }
        for name in list(weights):
            for new, before in old.items():
                if name.endswith(new):
                    weights[name.replace(new, before)] = weights.pop(name)
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def assert_refused(folder: Path, told: str) -> None:
    """A folder is refused in one line that names it and matches `told`, and no code in it is run."""
    with pytest.raises(CheckpointError, match=told) as error:
        EmotionRecognizer.from_pretrained(folder, "cpu")
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)
    assert not (folder / "executed").exists()
