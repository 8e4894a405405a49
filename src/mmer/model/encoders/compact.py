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

from mmer.features.log_mel import MEL_BINS
from mmer.features.prosody import CHANNELS
from mmer.recipe.model import CompactSpeech, CompactText
from mmer.text.transcripts import strip_annotations

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
