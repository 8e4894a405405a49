"""The section `model` of a recipe: the network, its encoders and their sizes."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mmer.recipe.errors import contradiction
from mmer.recipe.values import Fraction, Layers, Section, Train

COMPACT = "compact"
"""The encoders of `compact`, which are trained from scratch."""


class Transformer(Section):
    """Sizes of a small encoder that is trained from scratch."""

    hidden_size: PositiveInt = 128
    """Width of the encoder's output; a multiple of `num_attention_heads`."""
    num_hidden_layers: PositiveInt = 4
    """Layers."""
    num_attention_heads: PositiveInt = 4
    """Attention heads of a layer."""
    intermediate_size: PositiveInt = 512
    """Width of the feed-forward layers."""
    dropout: Fraction = 0.1
    """Dropout probability."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            multiple = f"a multiple of num_attention_heads ({self.num_attention_heads})"
            raise contradiction(f"hidden_size is {self.hidden_size}, not {multiple}", "change one of them")
        return self


class CompactSpeech(Transformer):
    """Sizes of the conformer on log-mel features behind `model.speech.encoder: compact`."""

    stacked: PositiveInt = 4
    """Log-mel frames of 10 ms that are stacked into one; 4 is fast, 2 leaves CTC enough frames for fast speech."""
    functionals: bool = False
    """Join functionals of the whole clip to every frame: statistics of pitch, energy, spectrum and rhythm.
    With `normalization: utterance` there are none, since they would be constant."""


class CompactText(Transformer):
    """Sizes of the text encoder and the tokenizer behind `model.text.encoder: compact`."""

    num_hidden_layers: PositiveInt = 2
    """Layers."""
    vocabulary_size: PositiveInt = 2000
    """Largest vocabulary of the tokenizer learned from the training transcripts."""


class SpeechEncoderSettings(Section):
    """The speech encoder."""

    encoder: str = "compact"
    """`compact`, a model name on the Hugging Face Hub, or a local folder."""
    train: Train = "full"
    """Weights of the encoder that are trained: all (`full`), none (`frozen`), low-rank weights added to its linear
    layers (`lora`, see `model.lora`), or its last N layers (`last:N`). The `compact` encoder allows `full` alone."""
    layers: Layers = "last"
    """Hidden states of the encoder that the network reads: those of the last layer (`last`), all of them mixed with
    learned weights (`weighted`), or those of a list alone, as [6, 7, 8], mixed likewise; 0 is what the first layer
    reads."""
    freeze_feature_extractor: bool = True
    """Keep the convolutional feature extractor of a pretrained waveform encoder as it is."""
    spec_augment: bool = False
    """Mask spans of frames and channels in training."""
    normalization: Literal["utterance", "speaker", "corpus"] = "utterance"
    """What log-mel features are standardized over. `speaker` takes all clips of a speaker in the corpus, test
    speakers included (transductive; no label is used), and needs a speaker for every clip. In use, few clips of a
    speaker are standardized between their own statistics and those of the average training speaker."""
    compact: CompactSpeech = CompactSpeech()
    """Sizes of the `compact` encoder."""


class TextEncoderSettings(Section):
    """The text encoder."""

    encoder: str = "compact"
    """`compact`, a model name on the Hugging Face Hub, or a local folder."""
    train: Train = "full"
    """Weights of the encoder that are trained, as for `model.speech.train`."""
    layers: Layers = "last"
    """Hidden states of the encoder that the network reads, as for `model.speech.layers`."""
    compact: CompactText = CompactText()
    """Sizes of the `compact` encoder."""


class Lora(Section):
    """Low-rank additions to every linear layer of an encoder with `train: lora` (Hu et al., LoRA, 2022)."""

    rank: PositiveInt = 8
    """Rank of an addition; a linear layer from m to n learns rank * (m + n) weights."""
    alpha: PositiveFloat = 16.0
    """The addition is multiplied by alpha / rank."""
    dropout: Fraction = 0.05
    """Dropout probability of the inputs of the additions."""


class Model(Section):
    """The network."""

    start_from: Path | None = None
    """Model folder that mmer trained, from whose network, weights, tokenizer and feature statistics training starts;
    `mmer adapt` sets it. Of this section, `train`, `lora` and `dropout` may then be chosen; everything else has to be
    as the folder has it."""
    fusion: Literal["mmer", "text", "speech", "naive", "auto"] = "mmer"
    """The paper's network, one modality alone, or both pooled and concatenated. `auto`: `mmer`, but `speech` where the
    words of the training utterances do not tell their emotions apart, and `text` where none has a recording."""
    ablate: list[Literal["gate", "block_b", "block_c", "block_d", "text_self_attention"]] = Field(default=[])
    """Parts of the fusion `mmer` to ablate, to see what they are worth."""
    missing_modality_embeddings: bool = False
    """Learn an embedding for a missing recording and one for a missing transcript, so that utterances without one of
    them are trained on and answered; on wherever `augment.missing` leaves any out. Fusions of one side have none."""
    pooling: Literal["max", "mean", "attentive-statistics"] = "max"
    """How the fusion makes one vector of speech frames and one of tokens: their maximum, as in the paper; their mean;
    or mean and standard deviation with learned attention to each frame and token."""
    num_attention_heads: PositiveInt = 12
    """Attention heads of the fusion layers."""
    intermediate_size: PositiveInt = 3072
    """Width of the feed-forward layers of the fusion."""
    dropout: Fraction = 0.1
    """Dropout probability of the fusion."""
    speech: SpeechEncoderSettings = SpeechEncoderSettings()
    """The speech encoder."""
    text: TextEncoderSettings = TextEncoderSettings()
    """The text encoder."""
    lora: Lora = Lora()
    """Low-rank adaptation of encoders with `train: lora`."""

    @model_validator(mode="after")
    def _has_parts(self) -> Self:
        if self.lora != Lora() and "lora" not in (self.speech.train, self.text.train):
            raise contradiction(
                "lora is set, but neither speech.train nor text.train is lora",
                "set one of them to lora, or leave lora out",
            )
        if self.ablate and self.fusion != "mmer":
            raise contradiction(
                f"ablate is set and fusion is {self.fusion}, which has no parts to ablate",
                "set fusion to mmer, or leave ablate out",
            )
        return self
