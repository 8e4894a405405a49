"""The `compact` encoders: small, trained from scratch on a laptop, no download."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
)

from mmer.recipe import CompactSpeech, CompactText
from mmer.text import strip_annotations

MEL_BINS = 80
STACKED = 2
"""Log-mel frames of 10 ms stacked into one of 20 ms."""
MINIMUM_SAMPLES = 880
"""Samples of four log-mel frames (25 ms window, 10 ms hop): statistics over fewer are not defined."""
LONGEST_TEXT = 512


def compact_speech_config(settings: CompactSpeech) -> PreTrainedConfig:
    """A small w2v-BERT conformer on log-mel features."""
    return Wav2Vec2BertConfig(
        feature_projection_input_dim=MEL_BINS * STACKED,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.num_hidden_layers,
        num_attention_heads=settings.num_attention_heads,
        intermediate_size=settings.intermediate_size,
        hidden_dropout=settings.dropout,
        attention_dropout=settings.dropout,
        activation_dropout=settings.dropout,
        feat_proj_dropout=settings.dropout,
        conformer_conv_dropout=settings.dropout,
        position_embeddings_type="rotary",
        layerdrop=0.0,
    )


def compact_feature_extractor() -> SeamlessM4TFeatureExtractor:
    """80 log-mel bins every 10 ms, two frames stacked."""
    return SeamlessM4TFeatureExtractor(
        feature_size=MEL_BINS, num_mel_bins=MEL_BINS, stride=STACKED, sampling_rate=16_000
    )


def compact_tokenizer(transcripts: Iterable[str], settings: CompactText) -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer learned from the training transcripts, in any language; case is dropped."""
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
    """A small BERT."""
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
