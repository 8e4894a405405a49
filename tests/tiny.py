"""Small random models of the same classes as the real ones."""

from typing import Any

import torch
from torch import Tensor
from transformers import (
    Data2VecAudioConfig,
    HubertConfig,
    PreTrainedConfig,
    RobertaConfig,
    UniSpeechSatConfig,
    Wav2Vec2BertConfig,
    Wav2Vec2Config,
    WavLMConfig,
)

from mmer.model import MMERConfig, MMERForEmotionRecognition
from mmer.model.encoders.emotion2vec.configuration import Emotion2VecConfig

SIZE = 32
TEXT_SIZE = 24
SYMBOLS = 32

CONVOLUTIONAL: dict[str, Any] = {
    "wav2vec2": Wav2Vec2Config,
    "hubert": HubertConfig,
    "wavlm": WavLMConfig,
    "unispeech-sat": UniSpeechSatConfig,
}
SPEECH_ENCODERS = [
    *(f"{kind}-{norm}" for kind in CONVOLUTIONAL for norm in ("group", "layer")),
    "data2vec-audio",
    "wav2vec2-bert",
    "emotion2vec",
]


def speech_config(name: str, **settings: Any) -> PreTrainedConfig:
    """Configuration of a small encoder; SpecAugment and LayerDrop off."""
    sizes: dict[str, Any] = {
        "hidden_size": SIZE,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "apply_spec_augment": False,
        "layerdrop": 0.0,
        **settings,
    }
    if name == "wav2vec2-bert":
        return Wav2Vec2BertConfig(feature_projection_input_dim=160, **sizes)
    convolutions = {
        "conv_dim": (SIZE,) * 7,
        "conv_bias": False,
        "num_conv_pos_embedding_groups": 2,
    }
    if name == "data2vec-audio":
        return Data2VecAudioConfig(**convolutions, **sizes)
    if name == "emotion2vec":
        return Emotion2VecConfig(num_extra_tokens=3, **convolutions, **sizes)
    kind, _, norm = name.rpartition("-")
    stable = {"do_stable_layer_norm": norm == "layer"}
    return CONVOLUTIONAL[kind](
        feat_extract_norm=norm, num_conv_pos_embeddings=16, **stable, **convolutions, **sizes
    )


def text_config(size: int = TEXT_SIZE) -> PreTrainedConfig:
    """Configuration of a small RoBERTa."""
    return RobertaConfig(
        vocab_size=100, hidden_size=size, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48
    )


def model_config(speech: str = "wav2vec2-group", **settings: Any) -> MMERConfig:
    """Configuration of a small model whose speech encoder, text encoder and fusion sizes all differ."""
    defaults: dict[str, Any] = {
        "speech_config": speech_config(speech),
        "text_config": text_config(),
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "ctc_vocab_size": SYMBOLS,
        "num_labels": 4,
    }
    return MMERConfig(**{**defaults, **settings})


def tiny_model(speech: str = "wav2vec2-group", seed: int = 0, **settings: Any) -> MMERForEmotionRecognition:
    """A small random model in evaluation mode, its weights scaled up so that differences show."""
    torch.manual_seed(seed)
    model = MMERForEmotionRecognition(model_config(speech, **settings))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    return model.eval()


def speech_inputs(model: MMERForEmotionRecognition, lengths: list[int], seed: int = 0) -> dict[str, Tensor]:
    """A padded batch of random clips of so many samples (or, for w2v-BERT, 320 samples a frame)."""
    generator = torch.Generator().manual_seed(seed)
    assert model.speech_encoder is not None
    if model.speech_encoder.has_convolutions:
        clips = [torch.randn(length, generator=generator) for length in lengths]
        name = "input_values"
    else:
        clips = [torch.randn(length // 320, 160, generator=generator) for length in lengths]
        name = "input_features"
    inputs = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    mask = torch.arange(inputs.shape[1]) < torch.tensor([len(clip) for clip in clips])[:, None]
    return {name: inputs, "speech_attention_mask": mask.long()}


def text_inputs(lengths: list[int], seed: int = 0) -> dict[str, Tensor]:
    """A padded batch of random token ids."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(5, 100, (length,), generator=generator) for length in lengths]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=1)
    mask = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
    return {"input_ids": ids, "text_attention_mask": mask.long()}


def row(batch: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    """One utterance of a batch, without its padding."""
    lengths = {
        "speech": int(batch["speech_attention_mask"][index].sum()),
        "text": int(batch["text_attention_mask"][index].sum()),
    }
    return {
        name: tensor[
            index : index + 1, : lengths["text" if name in ("input_ids", "text_attention_mask") else "speech"]
        ]
        for name, tensor in batch.items()
    }
