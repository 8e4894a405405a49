"""Configuration of the MMER network and of its training objective."""

import reprlib
from dataclasses import field
from typing import Any, ClassVar, Literal, get_args

from transformers import AutoConfig, PreTrainedConfig

from mmer.recipe.renamed import rename_stored

Fusion = Literal["mmer", "naive", "speech", "text"]
Part = Literal["gate", "block_b", "block_c", "block_d", "text_self_attention"]
"""A part of the fusion that can be left out."""
Pooling = Literal["max", "mean", "attentive-statistics"]
Formulation = Literal["paper", "official"]


class MMERConfig(PreTrainedConfig):
    """Holds sizes, encoders and objectives of `MMERForEmotionRecognition`. The defaults are those of the paper.

    Args:
        speech_config: configuration of any `transformers` speech encoder, or its dictionary; None for the
            text-only baseline.
        speech_functionals: number of the last columns of `input_features` that hold functionals of the clip, which join
            every frame that the speech encoder makes of the other columns.
        functionals_share: share of a linear classifier of the functionals in the logits, whose rest is the network's;
            0 to 1, and no such classifier at 0.
        classifies_words: whether a linear classifier of the words adds to that of the functionals.
        text_config: configuration of any `transformers` text encoder; None for the speech-only baseline, and
            for a model that is given `text_hidden_states`.
        fusion: `mmer`, or one of the paper's baselines `naive`, `speech`, `text`.
        ablate: parts of the fusion `mmer` that are left out; see `MultimodalDynamicFusion`.
        missing_modality_embeddings: learn one vector for missing speech and one for missing text, in front of the
            fusion, so that the network answers from either side alone; for fusions that use both.
        pooling: how the fusion pools frames and tokens; see `mmer.model.pooling`.
        hidden_size: width d of the fusion; that of the text encoder unless there is none.
        num_attention_heads: heads of the fusion's attention, a divisor of d.
        intermediate_size: width of the fusion's feed-forward layers.
        dropout: probability of every dropout outside the encoders, 0 to 1.
        layer_norm_eps: epsilon of the fusion's LayerNorm.
        ctc_vocab_size: symbols of the CTC alphabet, blank included; None for no CTC head.
        speech_train: weights of the speech encoder that learn: `full`, `frozen`, `lora` or `last:N`; see
            `mmer.model.encoders.trainable`.
        speech_layers: hidden states of the speech encoder that are read: `last`, `weighted` or their numbers; see
            `mmer.model.encoders.layers`.
        freeze_feature_extractor: whether the convolutional feature extractor of the speech encoder stays as it is.
        text_train: weights of the text encoder that learn; a frozen encoder runs without dropout and gradients.
        text_layers: hidden states of the text encoder that are read.
        lora: `rank`, `alpha` and `dropout` of low-rank weights in encoders with `lora`; None before they are added
            and after they are merged.
        formulation: `paper`, or `official` for the losses of the published code.
        ctc_weight: alpha of equation 1; 0 switches the objective off.
        supervised_contrastive_weight: beta of equation 1; 0 switches the objective off.
        augmented_contrastive_weight: gamma of equation 1; 0 switches the objective off.
        temperature: temperature of both contrastive objectives.
        class_weights: a weight for each emotion in the cross-entropy, or None.
        label_smoothing: of the cross-entropy, 0 to 1.
        languages: of the training utterances, the most frequent first, as the corpus writes them; empty where it says
            none, and in models of earlier versions.
    """

    model_type = "mmer"
    # The base class declares configuration classes; AutoConfig, which chooses one by `model_type`, is none to pyright.
    sub_configs: ClassVar = {"speech_config": AutoConfig, "text_config": AutoConfig}  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]

    speech_config: Any = None
    speech_functionals: int = 0
    functionals_share: float = 0.0
    classifies_words: bool = False
    text_config: Any = None
    fusion: Fusion = "mmer"
    ablate: list[Part] = field(default_factory=list)
    missing_modality_embeddings: bool = False
    pooling: Pooling = "max"
    hidden_size: int | None = None
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    dropout: float = 0.1
    layer_norm_eps: float = 1e-12
    ctc_vocab_size: int | None = 32
    speech_train: str = "full"
    speech_layers: str | list[int] = "last"
    freeze_feature_extractor: bool = True
    text_train: str = "frozen"
    text_layers: str | list[int] = "last"
    lora: dict[str, Any] | None = None
    formulation: Formulation = "paper"
    ctc_weight: float = 0.1
    supervised_contrastive_weight: float = 0.1
    augmented_contrastive_weight: float = 0.1
    temperature: float = 0.07
    class_weights: list[float] | None = None
    label_smoothing: float = 0.0
    languages: list[str] = field(default_factory=list)
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        named = rename_stored(kwargs)
        for name in named.keys() - kwargs.keys():  # as older model folders have it
            setattr(self, name, named.pop(name))
        kwargs = named
        if kwargs.pop("classifies_functionals", False):  # as older model folders have it
            self.functionals_share = 0.5
        for side in ("speech", "text"):  # as older model folders have it
            if (frozen := kwargs.pop(f"freeze_{side}_encoder", None)) is not None:
                setattr(self, f"{side}_train", "frozen" if frozen else "full")
        for name, choices in (("fusion", Fusion), ("pooling", Pooling), ("formulation", Formulation)):
            if (chosen := getattr(self, name)) not in get_args(choices):
                raise ValueError(
                    f"{name} {reprlib.repr(chosen)} is not known; it must be {' or '.join(get_args(choices))}"
                )
        self.speech_config = _as_config(self.speech_config)
        self.text_config = _as_config(self.text_config)
        size = self.hidden_size
        if size is None:
            source = self.text_config or self.speech_config
            size = source.hidden_size if source is not None else 768
        self.hidden_size = size
        if self.uses_both and size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads = {self.num_attention_heads} does not divide the fusion's width "
                f"{size}; choose a divisor of {size}"
            )
        for name in ("speech_layers", "text_layers"):
            if isinstance(layers := getattr(self, name), str) and layers not in ("last", "weighted"):
                raise ValueError(
                    f"{name} {reprlib.repr(layers)} is not known; it must be last, weighted or a list of layers"
                )
        if unknown := set(self.ablate) - set(get_args(Part)):
            raise ValueError(f"cannot ablate {min(unknown)!r}; parts are {', '.join(get_args(Part))}")
        if self.ablate and self.fusion != "mmer":
            raise ValueError(f"fusion '{self.fusion}' has no parts to ablate; set ablate to []")
        if self.missing_modality_embeddings and not self.uses_both:
            raise ValueError(
                f"fusion '{self.fusion}' has one side, which nothing stands in for; set missing_modality_embeddings to "
                "false"
            )
        super().__post_init__(**kwargs)
        for config in (self, self.speech_config, self.text_config):
            if config is not None:
                # parameters are float32, whatever an encoder was saved in; precision is autocast
                config.dtype = "float32"

    @property
    def speech_size(self) -> int:
        """Width of the frames A: that of the speech encoder and the functionals."""
        return self.speech_config.hidden_size + self.speech_functionals

    @property
    def uses_speech(self) -> bool:
        """Whether the network takes speech."""
        return self.fusion != "text"

    @property
    def uses_text(self) -> bool:
        """Whether the network takes text."""
        return self.fusion != "speech"

    @property
    def uses_both(self) -> bool:
        """Whether the network takes both speech and text."""
        return self.uses_speech and self.uses_text


def _as_config(config: PreTrainedConfig | dict[str, Any] | None) -> PreTrainedConfig | None:
    if isinstance(config, dict):
        settings = dict(config)
        return AutoConfig.for_model(settings.pop("model_type"), **settings)
    return config
