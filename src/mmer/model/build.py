"""Build a model and its processor from a recipe and its training utterances."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import FeatureExtractionMixin, PreTrainedConfig, PreTrainedTokenizerBase

from mmer.corpora.corpus import RECOGNIZED, Corpus
from mmer.corpora.words import words_tell_emotions
from mmer.errors import RecipeError
from mmer.features.functionals import COUNT
from mmer.features.statistics import FeatureStatistics
from mmer.model import pretrained_encoders
from mmer.model.configuration import MMERConfig
from mmer.model.encoders import compact
from mmer.model.encoders.convolutions import receptive_field
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.model.processor import MMERProcessor
from mmer.recipe.model import COMPACT, Model, SpeechEncoderSettings, TextEncoderSettings
from mmer.recipe.schema import Recipe
from mmer.text.ctc_alphabet import WAV2VEC2_ALPHABET, CTCAlphabet
from mmer.text.transcripts import spell_sounds, strip_annotations

EQUAL_SHARES = 2600
"""Recordings from which a network that listens learns as much as a linear classifier of functionals."""
EQUAL_SHARES_WITH_WORDS = 10_000
"""The same for a network that reads too, beside a linear classifier of words: it has more ways to remember voices."""


def build_model(
    recipe: Recipe, train: Corpus, labels: Sequence[str]
) -> tuple[MMERForEmotionRecognition, MMERProcessor]:
    """Build the network of a recipe: load pretrained encoders, initialize everything else at random.

    Args:
        recipe: its `model` and `objectives` sections are read. The caller seeds the random generator.
        train: training utterances, from which the compact tokenizer, the CTC alphabet and the class weights
            are computed.
        labels: emotions, in the order of the model's classes.

    Raises:
        EncoderError: an encoder cannot be loaded, or has fewer layers than are to learn.
        MissingExtraError: an encoder learns by LoRA, and peft is not installed.
        RecipeError: see `configure`.
    """
    config, processor = configure(recipe, train, labels)
    speech, text = recipe.model.speech, recipe.model.text
    model = MMERForEmotionRecognition(config)
    if config.uses_speech and speech.encoder != COMPACT:
        pretrained_encoders.load_speech_encoder(model, speech.encoder)
    if config.uses_text and text.encoder != COMPACT:
        pretrained_encoders.load_text_encoder(model, text.encoder)
    if (config.uses_speech and speech.train == "lora") or (config.uses_text and text.train == "lora"):
        model.add_lora(recipe.model.lora.model_dump())
    pretrained_encoders.check_encoders(
        model,
        processor,
        speech=speech.encoder if config.uses_speech and speech.encoder != COMPACT else None,
        text=text.encoder if config.uses_text and text.encoder != COMPACT else None,
    )
    return model, processor


def configure(recipe: Recipe, train: Corpus, labels: Sequence[str]) -> tuple[MMERConfig, MMERProcessor]:
    """Create the configuration of a recipe's network, before LoRA, and its processor.

    Args:
        recipe, train, labels: as for `build_model`.

    Raises:
        EncoderError: the files of an encoder cannot be read.
        RecipeError: the network takes text and no training utterance has a transcript, or takes speech and none has a
            recording; or a part of an encoder is to learn whose other part would stay random.
    """
    recipe = with_fusion(recipe, train)
    assert recipe.model.fusion != "auto"
    transcripts = [text for text in train.table["transcript"].dropna() if text]
    recognized = [text for text in train.table[RECOGNIZED].dropna() if text] if recipe.data.recognized else []
    speech, objectives, fusion = recipe.model.speech, recipe.objectives, recipe.model.fusion
    uses_speech, uses_text = fusion != "text", fusion != "speech"
    has_recordings = bool(train.table["audio_path"].notna().any())
    _check_corpus(recipe.model, has_recordings, has_transcripts=bool(transcripts or recognized))
    _check_compact_encoders(recipe.model)
    text_config, tokenizer = _text_side(recipe.model.text, [*transcripts, *recognized])
    speech_config, feature_extractor = _speech_side(speech)

    # Standardized over the clip, its functionals would be zero.
    standardizes_clips = speech.normalization != "utterance"
    has_functionals = speech.encoder == COMPACT and speech.compact.functionals and standardizes_clips
    functionals = COUNT if has_functionals and uses_speech else 0
    # The tokens of a pretrained encoder are many more, and it knows more of them than this corpus tells.
    classifies_words = bool(functionals) and uses_text and recipe.model.text.encoder == COMPACT
    share = 0.0
    if functionals:
        share = functionals_share(train, uses_text=uses_text, classifies_words=classifies_words)
    alphabet = None
    if uses_speech and objectives.ctc_weight and transcripts:
        official = objectives.formulation == "official"
        alphabet = ctc_alphabet([spell_sounds(text) for text in transcripts] if official else transcripts)

    config = MMERConfig(
        speech_config=speech_config if uses_speech else None,
        speech_functionals=functionals,
        functionals_share=share,
        classifies_words=classifies_words,
        text_config=text_config if uses_text else None,
        fusion=fusion,
        ablate=list(recipe.model.ablate),
        missing_modality_embeddings=recipe.missing_modality_embeddings,
        pooling=recipe.model.pooling,
        num_attention_heads=recipe.model.num_attention_heads,
        intermediate_size=recipe.model.intermediate_size,
        dropout=recipe.model.dropout,
        ctc_vocab_size=len(alphabet.symbols) if alphabet else None,
        speech_train=speech.train,
        speech_layers=speech.layers,
        freeze_feature_extractor=speech.freeze_feature_extractor,
        text_train=recipe.model.text.train,
        text_layers=recipe.model.text.layers,
        **objectives.model_dump(exclude={"ctc_weight", "class_weights"}),
        ctc_weight=objectives.ctc_weight if alphabet else 0.0,
        class_weights=class_weights(train, labels) if objectives.class_weights == "balanced" else None,
        languages=languages_of(train),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    processor = MMERProcessor(
        feature_extractor,
        tokenizer,
        labels=labels,
        ctc_symbols=alphabet.symbols if alphabet else None,
        minimum_samples=_minimum_samples(speech_config, feature_extractor),
        max_duration=recipe.data.max_duration,
        normalization=speech.normalization,
        uses_speech=uses_speech,
        uses_text=uses_text,
        adds_prosody=speech.encoder == COMPACT,
        functionals=functionals,
        missing_modality_embeddings=recipe.missing_modality_embeddings,
    )
    return config, processor


def check_encoders(model: Model) -> None:
    """Check that the encoders of a recipe are there and of a supported kind, without reading their weights.

    Raises:
        EncoderError: one is not.
    """
    _speech_side(model.speech)
    if model.text.encoder != COMPACT:
        _text_side(model.text, [])


def functionals_share(train: Corpus, *, uses_text: bool, classifies_words: bool) -> float:
    """Return the share of the linear classifiers in the answer of a network trained from scratch.

    The classifiers have few weights: they learn more than a network from few recordings, and less from many.
    Without a classifier of words, functionals have half of the answer at most beside a network that reads.

    Args:
        train: training utterances.
        uses_text: whether the network reads.
        classifies_words: whether there is a classifier of words.
    """
    recordings = int(train.table["audio_path"].notna().sum())
    equal = EQUAL_SHARES_WITH_WORDS if classifies_words else EQUAL_SHARES
    share = equal / (equal + recordings)
    return min(share, 0.5) if uses_text and not classifies_words else share


def with_fusion(recipe: Recipe, train: Corpus) -> Recipe:
    """Replace `model.fusion: auto` by the fusion that suits the training utterances; another fusion stays.

    Words that tell nothing of the emotion help a network only to remember who said what, so that it is worse on new
    voices. It reads them nevertheless where the recipe asks for missing-modality embeddings.
    """
    if recipe.model.fusion != "auto":
        return recipe
    if train.table["audio_path"].isna().all():
        fusion = "text"
    elif _has_words(train) and (recipe.missing_modality_embeddings or words_tell_emotions(train)):
        fusion = "mmer"
    else:
        fusion = "speech"
    return recipe.with_settings(model={"fusion": fusion})


def fusion_note(asked: Recipe, decided: Recipe, train: Corpus) -> str | None:
    """Say why `with_fusion` decided on a network of one modality; None if it did not."""
    if asked.model.fusion != "auto" or decided.model.fusion == "mmer":
        return None
    if decided.model.fusion == "text":
        return "no training utterance has a recording, so the network only reads"
    if not _has_words(train):
        return "no training utterance has a transcript, so the network only listens"
    found = "the words of the training utterances do not tell the emotions of other sentences apart"
    return f"{found}, so the network only listens; model.fusion=mmer reads them too"


def _has_words(train: Corpus) -> bool:
    return bool(train.table["transcript"].fillna("").map(strip_annotations).str.strip().any())


def _check_corpus(model: Model, has_recordings: bool, has_transcripts: bool) -> None:
    """Refuse a network that takes a modality which no training utterance has."""
    if model.fusion != "text" and not has_recordings:
        raise RecipeError(
            f"model.fusion = {model.fusion} listens, and no training utterance has a recording; "
            "add recordings to the corpus or set model.fusion=text"
        )
    if model.fusion != "speech" and not has_transcripts:
        raise RecipeError(
            f"model.fusion = {model.fusion} reads transcripts, and no training utterance has one; "
            "add transcripts to the corpus or set model.fusion=speech"
        )


def _check_compact_encoders(model: Model) -> None:
    """Refuse to freeze any weights of a compact encoder, since they are random."""
    sides = (("speech", model.speech, model.fusion != "text"), ("text", model.text, model.fusion != "speech"))
    for side, settings, used in sides:
        if used and settings.encoder == COMPACT and settings.train != "full":
            raise RecipeError(
                f"model.{side}.train is {settings.train}, but the compact encoder starts from random weights, which "
                f"would stay so; set model.{side}.train=full or name a pretrained model.{side}.encoder"
            )


def _text_side(
    settings: TextEncoderSettings, transcripts: Sequence[str]
) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    """Configure the text encoder and its tokenizer; the compact tokenizer is trained on the transcripts."""
    if settings.encoder == COMPACT:
        tokenizer = compact.compact_tokenizer(transcripts, settings.compact)
        return compact.compact_text_config(settings.compact, tokenizer), tokenizer
    config = pretrained_encoders.text_encoder_config(settings.encoder)
    return config, pretrained_encoders.encoder_tokenizer(settings.encoder, config)


def _speech_side(settings: SpeechEncoderSettings) -> tuple[PreTrainedConfig, FeatureExtractionMixin]:
    """Configure the speech encoder and its feature extractor."""
    if settings.encoder == COMPACT:
        config = compact.compact_speech_config(settings.compact)
        feature_extractor = compact.compact_feature_extractor(settings.compact)
    else:
        config = pretrained_encoders.speech_encoder_config(settings.encoder)
        feature_extractor = pretrained_encoders.encoder_feature_extractor(settings.encoder)
    config.apply_spec_augment = settings.spec_augment
    return config, feature_extractor


def ctc_alphabet(transcripts: Sequence[str]) -> CTCAlphabet:
    """Choose wav2vec 2.0's alphabet if it covers the letters of the transcripts, else one made of these letters."""
    made = CTCAlphabet.from_transcripts(transcripts)
    english = CTCAlphabet(WAV2VEC2_ALPHABET)
    return english if set(made.symbols) <= set(english.symbols) else made


def _minimum_samples(speech_config: PreTrainedConfig, feature_extractor: Any) -> int:
    if speech_config.model_type != "wav2vec2-bert":
        return receptive_field(speech_config)
    # Statistics over fewer than two stacked frames of (25 ms window, 10 ms hop) are not defined.
    return 400 + 160 * (2 * feature_extractor.stride - 1)


def set_corpus_statistics(processor: MMERProcessor, statistics: FeatureStatistics) -> None:
    """Store the training corpus's statistics, (bins,), in the processor, for `normalization: corpus`."""
    processor.corpus_mean = statistics.mean.tolist()
    processor.corpus_std = statistics.std.tolist()


def languages_of(train: Corpus) -> list[str]:
    """List the languages of the training utterances, the most frequent first."""
    return train.table["language"].dropna().astype(str).value_counts().index.tolist()


def class_weights(train: Corpus, labels: Sequence[str]) -> list[float]:
    """Weigh each label by the inverse of its frequency in training; see `Objectives.class_weights`."""
    found = [int((train.table["emotion"] == label).sum()) for label in labels]
    counts = torch.tensor(found, dtype=torch.float64)
    weights = counts.sum() / (len(labels) * counts.clamp(min=1))
    return weights.tolist()
