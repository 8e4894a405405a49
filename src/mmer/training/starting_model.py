"""The model that training starts from: a new one of a recipe, or one that mmer trained before.

A trained model goes on with its tokenizer, CTC alphabet and feature statistics, so that what its weights expect stays
as it is. Its classifier keeps the rows of the labels that it knew; those of new labels are random.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from mmer.corpora.corpus import Corpus
from mmer.errors import RecipeError
from mmer.inference.backends.model_folder import check_trainable, read_processor
from mmer.inference.backends.torch_network import read_torch_network
from mmer.model.build import build_model, check_encoders, class_weights, configure, languages_of
from mmer.model.configuration import MMERConfig
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.model.processor import MMERProcessor
from mmer.recipe.model import Model, SpeechEncoderSettings, TextEncoderSettings
from mmer.recipe.parsing import values, written
from mmer.recipe.schema import Recipe

_LINEAR = ("functionals_classifier.", "words_classifier.")
_CLASSIFIERS = tuple(f"{name}{kind}" for name in ("classifier.", *_LINEAR) for kind in ("weight", "bias"))
_FREE = ("start_from", "dropout", "speech.train", "speech.spec_augment", "text.train")
"""Settings of `model` that need not be those of the model that training starts from."""
_OF_ENCODERS = ("lora.", "speech.encoder", "speech.compact.", "text.encoder", "text.compact.")
"""Settings that only matter where encoders are built."""


def starting_model(
    recipe: Recipe, train: Corpus, labels: Sequence[str]
) -> tuple[MMERForEmotionRecognition, MMERProcessor]:
    """Build the network of a recipe, or read the one of `model.start_from`, and its processor.

    Args:
        recipe, train, labels: as for `build_model`.

    Raises:
        EncoderError, MissingExtraError, RecipeError: as for `build_model`.
        CheckpointError: `model.start_from` is no model that can be trained further.
        RecipeError: a setting of `model` is not that of the model in `model.start_from`.
    """
    if recipe.model.start_from is None:
        return build_model(recipe, train, labels)
    start, processor = read_trained(recipe.model.start_from)
    _check_settings(recipe.model, start.config, processor)
    model = MMERForEmotionRecognition(_continued(start.config, recipe, train, labels))
    weights = start.state_dict()
    _keep_classifier(weights, processor.labels, model.state_dict(), labels)
    model.load_state_dict(weights)
    if "lora" in (model.config.speech_train, model.config.text_train):
        model.add_lora(recipe.model.lora.model_dump())
    processor.labels = list(labels)
    return model, processor


def check_start(recipe: Recipe) -> None:
    """Check what `starting_model` will read, as far as the utterances do not matter.

    Raises:
        EncoderError, CheckpointError, RecipeError: as for `starting_model`.
    """
    if recipe.model.start_from is None:
        check_encoders(recipe.model)
        return
    start, processor = read_trained(recipe.model.start_from)
    if recipe.model.fusion != "auto":
        _check_settings(recipe.model, start.config, processor)


def starting_config(recipe: Recipe, train: Corpus, labels: Sequence[str]) -> MMERConfig:
    """Return the configuration of `starting_model`, before LoRA.

    Args:
        recipe, train, labels: as for `build_model`.

    Raises:
        EncoderError, RecipeError, CheckpointError: as for `starting_model`.
    """
    if recipe.model.start_from is None:
        return configure(recipe, train, labels)[0]
    return _continued(read_trained(recipe.model.start_from)[0].config, recipe, train, labels)


def read_trained(folder: Path) -> tuple[MMERForEmotionRecognition, MMERProcessor]:
    """Read a model that mmer trained, and its processor, to train it further.

    Args:
        folder: a model folder.

    Raises:
        CheckpointError: there is none, it is damaged, or its network cannot be trained.
    """
    check_trainable(folder)
    processor = read_processor(folder)
    assert isinstance(processor, MMERProcessor)
    return read_torch_network(folder, "cpu").model, processor


def average_with_start(model: MMERForEmotionRecognition, folder: Path, share: float) -> None:
    """Move the weights of a trained model toward those that training started from (WiSE-FT; Wortsman et al., 2022).

    What the classifier learned of new labels stays as it is. So do the linear classifiers of functionals and words,
    which were fitted to what the model learned from before, or near their weights of then.

    Args:
        model: changed in place; without LoRA weights.
        folder: `model.start_from`.
        share: of the starting weights in the result, 0 to 1.

    Raises:
        CheckpointError: as for `read_trained`.
    """
    start, processor = read_trained(folder)
    first, trained = start.state_dict(), model.state_dict()
    labels = list((model.config.id2label or {}).values())
    _keep_classifier(first, processor.labels, trained, labels)
    for name, weight in trained.items():
        if weight.is_floating_point() and not name.startswith(_LINEAR):
            weight.lerp_(first[name], share)


def model_settings(config: MMERConfig, processor: MMERProcessor, folder: Path) -> Model:
    """Describe a trained model as the section `model` of a recipe that starts from it.

    Args:
        config, processor: of the model.
        folder: its folder, which stands in for the encoders.
    """
    return Model(
        start_from=folder,
        fusion=config.fusion,
        ablate=list(config.ablate),
        missing_modality_embeddings=config.missing_modality_embeddings,
        pooling=config.pooling,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        dropout=config.dropout,
        speech=SpeechEncoderSettings(
            encoder=str(folder),
            layers=config.speech_layers,
            freeze_feature_extractor=config.freeze_feature_extractor,
            normalization=processor.normalization,
        ),
        text=TextEncoderSettings(encoder=str(folder), layers=config.text_layers),
    )


def _keep_classifier(
    weights: dict[str, Tensor], known: Sequence[str], fresh: Mapping[str, Tensor], labels: Sequence[str]
) -> None:
    """Replace the rows of the classifiers: those of known labels, where they belong, and fresh ones for the others."""
    for name in set(_CLASSIFIERS) & set(weights):
        rows = fresh[name].clone()
        for row, label in enumerate(labels):
            if label in known:
                rows[row] = weights[name][known.index(label)]
        weights[name] = rows


def _continued(config: MMERConfig, recipe: Recipe, train: Corpus, labels: Sequence[str]) -> MMERConfig:
    """Return the configuration of a trained model with the training settings of a recipe, and its labels."""
    objectives, speech = recipe.objectives, recipe.model.speech
    config = copy.deepcopy(config)
    for name, value in objectives.model_dump(exclude={"ctc_weight", "class_weights"}).items():
        setattr(config, name, value)
    config.ctc_weight = objectives.ctc_weight if config.ctc_vocab_size else 0.0
    config.class_weights = class_weights(train, labels) if objectives.class_weights == "balanced" else None
    config.languages = list(dict.fromkeys([*languages_of(train), *config.languages]))
    config.dropout = recipe.model.dropout
    config.speech_train, config.text_train = speech.train, recipe.model.text.train
    if config.speech_config is not None:
        config.speech_config.apply_spec_augment = speech.spec_augment
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    return config


def _check_settings(asked: Model, config: MMERConfig, processor: MMERProcessor) -> None:
    """Refuse settings that the trained model does not have."""
    assert asked.start_from is not None
    found = dict(values(model_settings(config, processor, asked.start_from)))
    for name, value in values(asked):
        if name not in _FREE and not name.startswith(_OF_ENCODERS) and value != found[name]:
            raise RecipeError(
                f"model.{name} is {written(value)}, but the model in {asked.start_from}, from which training starts, "
                f"has {written(found[name])}; set model.{name}={written(found[name])}"
            )
