"""The `compact` encoders: small, trained from scratch on a laptop, no download."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
)

from mmer.model.encoders.prosody import CHANNELS, prosody
from mmer.recipe.schema import CompactSpeech, CompactText
from mmer.text.transcripts import strip_annotations

MEL_BINS = 80
LEVEL_SHARE = 0.5
"""Share of a clip's level that is removed, since the level depends on the microphone as well as on the speaker."""
LONGEST_TEXT = 512


def compact_speech_config(settings: CompactSpeech) -> PreTrainedConfig:
    """Configure a small w2v-BERT conformer on `compact_features`; its convolutions encode the order of frames."""
    return Wav2Vec2BertConfig(
        feature_projection_input_dim=(MEL_BINS + CHANNELS) * settings.stacked,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.num_hidden_layers,
        num_attention_heads=settings.num_attention_heads,
        intermediate_size=settings.intermediate_size,
        hidden_dropout=settings.dropout,
        feat_proj_dropout=settings.dropout,
        conformer_conv_dropout=settings.dropout,
        attention_dropout=0.0,
        activation_dropout=0.0,
        position_embeddings_type=None,
        conv_depthwise_kernel_size=15,
        # At this width the usual 0.02 learns nothing for the first epochs.
        initializer_range=0.08,
        layerdrop=0.0,
    )


def compact_features(log_mel: NDArray[np.float32], waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Add pitch, periodicity and energy to log-mel features, and remove half of the clip's level.

    Args:
        log_mel: (frames, stacked * 80) of the feature extractor.
        waveform: (samples,) of the same clip.

    Returns:
        (frames, stacked * 83), not standardized; NaN for the pitch of unvoiced frames.
    """
    fine = np.maximum(log_mel.reshape(-1, MEL_BINS), 0.0)  # below is digital silence
    voice = prosody(waveform, len(fine))
    fine -= LEVEL_SHARE * _level(fine.mean(axis=1))
    voice[:, 2] -= LEVEL_SHARE * _level(voice[:, 2])
    return np.concatenate([fine, voice], axis=1).reshape(len(log_mel), -1)


def _level(loudness: NDArray[np.float32]) -> np.float32:
    """Average the louder half of the frames, (frames,)."""
    return loudness[loudness >= np.median(loudness)].mean()


def compact_feature_extractor(settings: CompactSpeech) -> SeamlessM4TFeatureExtractor:
    """Configure the extractor: 80 log-mel bins every 10 ms, with `stacked` frames joined into one."""
    return SeamlessM4TFeatureExtractor(
        feature_size=MEL_BINS, num_mel_bins=MEL_BINS, stride=settings.stacked, sampling_rate=16_000
    )


def compact_tokenizer(transcripts: Iterable[str], settings: CompactText) -> PreTrainedTokenizerFast:
    """Train a byte-pair tokenizer on the training transcripts, in any language; it lowercases them."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary_size, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator((strip_annotations(text) for text in transcripts), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=LONGEST_TEXT,
    )


def compact_text_config(settings: CompactText, tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    """Configure a small BERT for a tokenizer."""
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.num_hidden_layers,
        num_attention_heads=settings.num_attention_heads,
        intermediate_size=settings.intermediate_size,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.dropout,
        max_position_embeddings=LONGEST_TEXT,
        pad_token_id=0,
    )
