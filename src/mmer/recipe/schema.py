"""The settings of a recipe: nested, validated settings of one training run.

A recipe is a YAML file with the sections `data`, `protocol`, `model`, `objectives`, `augment` and `training`.
Settings that it leaves out have the defaults below. An unknown key or a value that is not allowed raises a
`RecipeError` of one line that names the place.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from mmer.recipe.augmentation import Augment
from mmer.recipe.errors import contradiction
from mmer.recipe.parsing import read_settings, values
from mmer.recipe.values import (
    LAST_LAYERS,
    ActivationCheckpointing,
    Folds,
    Fraction,
    Layers,
    Name,
    Order,
    Probability,
    Section,
    Seed,
    Train,
    Unique,
)
from mmer.recipes import read_recipe


class Data(Section):
    """The training data."""

    corpus: Path | None = None
    """The corpus: a table (Parquet, CSV, TSV, JSONL) or a folder of audio with metadata.csv."""
    labels: Annotated[list[Name], Field(min_length=2), Unique] | None = None
    """Emotions that the model distinguishes, in the order of its classes; null = every emotion of the corpus."""
    label_map: dict[Name, Name] = Field(default={})
    """Emotions to rename before `labels` is applied, such as `excited: happy`."""
    recognized: Probability = 0.0
    """Share of the training utterances, drawn anew in each epoch, whose text is the output of a speech recognizer: the
    column `recognized` that `mmer corpus transcribe` writes. CTC always learns the reference transcript. At 1,
    validation and test use the recognized text too. Below 1, they use the reference transcript, as do utterances that
    the recognizer skipped."""
    crop_duration: PositiveFloat | None = None
    """Truncate clips to this many seconds; the number of truncated clips is reported. null = never truncate."""
    max_duration: PositiveFloat = 30.0
    """Clips longer than this (seconds, after `crop_duration`) are left out of training and listed."""
    rehearsal: Path | None = None
    """Corpus that the model of `model.start_from` learned from, so that it forgets less: training draws up to four
    utterances of it for each new one of the same emotion, of its training split if it has one, and none of speakers
    that validate or test. `mmer adapt` sets it."""


class Protocol(Section):
    """The split into training, validation and test, and the choice of the epoch."""

    group: Name = "speaker"
    """Kind of the groups that `test` and `validation` name: speaker, session, or another column of the corpus. A split
    never divides a group or a speaker."""
    test: list[Name] = Field(default=[])
    """Groups of the test fold; empty = the split column of the corpus. `mmer crossval` fills it in for each fold."""
    no_test: bool = False
    """Test nothing: every utterance trains or validates, whatever its split, and nothing is known of other speakers."""
    folds: Folds = None
    """What `mmer crossval` tests in turn: `leave-one-out` (or null), each group; a number, that many folds of groups,
    similar in size and emotions; `official`, the fold column of the corpus, or else its split column; or a file, the
    folds.json of another cross-validation of the corpus. `mmer train` wants null: its fold is `test`."""
    validation: NonNegativeInt | list[Name] = 1
    """Validation groups, or how many to draw from the others where the corpus has no validation split. In a
    cross-validation, the number of groups to take, those that follow the fold's own."""
    validation_group: Name | None = None
    """The column whose values validate; null = `group`. With `group: session` and `validation_group: speaker`, single
    speakers of the training sessions validate instead of a whole session; a cross-validation draws them for each
    fold."""
    seed: Seed = 0
    """Seed of the split: of the drawn validation groups and of the drawn folds. In a cross-validation that leaves one
    group out, 0 has validation groups follow in the order of their names; other seeds draw an order."""
    metric: Literal["accuracy", "balanced_accuracy", "macro_f1"] = "balanced_accuracy"
    """Metric that chooses the best epoch."""
    refit: bool = False
    """After the validation split has chosen the epoch, train a new model on training and validation together for as
    many epochs, and test that model. Requires `selection: validation`."""
    selection: Literal["validation", "last", "test"] = "validation"
    """What chooses the epoch: the validation split; nothing (`last`), which keeps the last epoch and allows
    `validation: 0` for more training data; or the test split, which is what the published code does and marks every
    number. Where there is a validation split too, its choice is judged beside that of the test split: the difference is
    the optimism."""
    speakers_apart: bool = True
    """Refuse a split that has a speaker on two sides; false accepts official ones such as MELD's, and says so."""
    style: Literal["all", "improvised", "scripted"] = "all"
    """Utterances to use, by the column `improvised` of the corpus."""
    text_disjoint: bool = False
    """Remove every utterance from training and validation whose transcript, or a similar one, is in the test split."""
    text_similarity: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Similarity from which `text_disjoint` removes an utterance: share of words in common blocks, as in difflib."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.no_test and (self.test or self.selection == "test"):
            raise contradiction(
                "no_test is true, and test or selection asks for a test split",
                "set no_test to false or change those",
            )
        if self.refit and self.validation == 0:
            raise contradiction(
                "refit is true and validation is 0, so no split can choose the epoch",
                "set validation to 1 or more and selection to validation, or refit to false",
            )
        if self.refit and self.selection != "validation":
            reason = (
                "already trains on all that it may" if self.selection == "last" else "has read the test split"
            )
            raise contradiction(
                f"refit is true and selection is {self.selection}, which {reason}",
                "set selection to validation, or refit to false",
            )
        return self


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


class Objectives(Section):
    """The loss: cross-entropy and three weighted auxiliary objectives (equation 1 of the paper)."""

    formulation: Literal["paper", "official"] = "paper"
    """Auxiliary objectives as the paper defines them, or as the published code computes them. With `official`, layers
    outside the encoders also start as PyTorch has them, weight decay is on all weights, the last, incomplete
    accumulation of an epoch is divided by `accumulation` too, and CTC learns laughter and breathing as LG and BR."""
    ctc_weight: NonNegativeFloat = 0.1
    """α, weight of CTC on the transcript; 0 = off."""
    supervised_contrastive_weight: NonNegativeFloat = 0.1
    """β, weight of the supervised contrastive loss; 0 = off."""
    augmented_contrastive_weight: NonNegativeFloat = 0.1
    """γ, weight of the augmented contrastive loss; 0 = off."""
    temperature: PositiveFloat = 0.07
    """τ of both contrastive losses."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` weighs the cross-entropy of a class by the inverse of its frequency in training."""
    label_smoothing: Fraction = 0.0
    """Label smoothing of the cross-entropy."""


LEAST_EPOCHS = 6
"""Passes over the training utterances of a large corpus whose recipe leaves their number open."""


class Training(Section):
    """Optimization of the network."""

    epochs: PositiveInt | None = 30
    """Passes over the training utterances; null = as many as make `steps` steps, at least 6."""
    steps: PositiveInt = 300
    """Least number of optimizer steps where `epochs` is null: a small corpus is passed over more often than a large
    one."""
    batch_size: PositiveInt = 32
    """Utterances of one step on one device, all of which the contrastive objectives compare; with several devices,
    they compare those of all."""
    micro_batch_size: PositiveInt | None = None
    """Utterances whose activations are in memory at a time; null = all of the batch. The gradient is the same, the
    forward pass is made twice."""
    accumulation: PositiveInt = 1
    """Steps whose gradients are added up before the weights are updated."""
    learning_rate: PositiveFloat = 1e-3
    """Peak learning rate of AdamW."""
    speech_learning_rate: PositiveFloat | None = None
    """Peak learning rate of the speech encoder; null = `learning_rate`."""
    text_learning_rate: PositiveFloat | None = None
    """Peak learning rate of the text encoder; null = `learning_rate`. Pretrained encoders want 1e-5 to 5e-5 (`full`,
    `last:N`) or 1e-4 to 1e-3 (`lora`)."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor by which the learning rate falls from each layer of the encoders to the one below; 1 = no change."""
    warmup_ratio: Fraction = 0.0
    """Share of all steps over which the learning rate rises from 0."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Schedule of the learning rate after the warm-up."""
    weight_decay: NonNegativeFloat = 0.01
    """AdamW weight decay; biases and normalization weights have none, except with `formulation: official`."""
    pull_to_start: NonNegativeFloat = 0.0
    """Strength of the pull of the weights toward those that training started with, but for the classifier (L2-SP; Li
    et al., 2018), so that a model of `model.start_from` forgets less. It is multiplied by the learning rate, as the
    weight decay is. 0 = no pull."""
    average_with_start: Fraction = 0.0
    """Share of the weights of `model.start_from` in the model that is kept, which is the average of them and of the
    trained ones (WiSE-FT; Wortsman et al., 2022). More of them forget less, and learn less. 0 = the trained ones."""
    max_grad_norm: PositiveFloat | None = None
    """Clip the gradient to this norm; null = no clipping."""
    activation_checkpointing: ActivationCheckpointing = "none"
    """What of the encoders' layers the backward pass computes again instead of keeping it: nothing; what is `cheap`
    (all but matrix products and convolutions), or whole `layers`. Less memory, more time, the same gradient."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the forward pass; float16 needs a GPU."""
    seed: Seed = 0
    """Seed of the weights, the order, the dropout and the views. The split has its own, `protocol.seed`."""
    order: Order | None = None
    """Sampling order within an epoch. `shuffled`: random batches. `balanced`: each batch has emotions in the
    proportions of the corpus, in pairs of two speakers, so that every utterance has a positive in the supervised
    contrastive objective. `by_length`: batches of clips of similar length, which saves padding but costs accuracy,
    since emotions differ in length. null = `balanced` with the supervised contrastive objective, `shuffled` without."""
    tf32: bool = True
    """Compute float32 products in TF32 on GPUs that have it, several times as fast, with 10 bits of mantissa in
    training; judging is in full float32. false = full float32 in training too."""
    workers: NonNegativeInt | None = None
    """Processes that load audio; the result is the same for any number. null = on a GPU, one for each core but one, up
    to 4; none where the CPU trains, whose cores are busy, or where processes cannot be forked."""
    text_cache_gb: NonNegativeFloat = 10.0
    """Disk space in the run folder, while training goes on, for a frozen text encoder's output for each transcript,
    which is computed once. Texts for which it does not suffice are read anew each time; 0 = all of them. In GB."""
    speech_cache_gb: NonNegativeFloat = 20.0
    """Disk space in the folder of the run, cross-validation or ablation, while training goes on, for what frozen
    layers of a speech encoder (`frozen`, `last:N`) make of each clip, which they hear once. A second of sound takes
    0.15 MB for each layer of an encoder of 768 dimensions. Clips for which it does not suffice are heard in each epoch;
    0 = all of them. In GB."""
    log_gradient_shares: bool = False
    """Measure before each epoch how much each objective contributes to the gradient; this does not change training."""
    report_to: list[Literal["tensorboard", "wandb", "mlflow"]] = Field(default=["tensorboard"])
    """Loggers of objectives and scores: event files in the run folder (`tensorboard`), Weights & Biases (`wandb`),
    `mlflow`; all that are listed."""
    patience: PositiveInt | None = None
    """Stop after this many epochs without a better score on the selection split; null = never."""

    def steps_an_epoch(self, utterances: int) -> int:
        """Count the optimizer steps of a pass over a number of training utterances, on one device."""
        return math.ceil(utterances / (self.batch_size * self.accumulation))

    def epochs_of(self, utterances: int) -> int:
        """Count the passes over a number of training utterances, on one device."""
        if self.epochs is not None:
            return self.epochs
        return max(LEAST_EPOCHS, math.ceil(self.steps / self.steps_an_epoch(utterances)))

    @property
    def at_a_time(self) -> int:
        """Utterances that are in memory at a time, in training and where a split is judged."""
        return self.micro_batch_size or self.batch_size


RUN_SETTINGS = (
    "micro_batch_size",
    "activation_checkpointing",
    "workers",
    "text_cache_gb",
    "speech_cache_gb",
    "log_gradient_shares",
    "report_to",
)
"""Settings of `training` that do not change a run's result, so that a run may be resumed with others. With
another `micro_batch_size` dropout draws other units."""


class Recipe(Section):
    """Complete settings of one training run; `load_recipe` reads them from a file."""

    data: Data = Data()
    """The training data."""
    protocol: Protocol = Protocol()
    """The split, and the choice of the epoch."""
    model: Model = Model()
    """The network."""
    objectives: Objectives = Objectives()
    """The loss."""
    augment: Augment = Augment()
    """Augmentation in training."""
    training: Training = Training()
    """Optimization."""

    @model_validator(mode="after")
    def _starts(self) -> Self:
        if self.model.start_from is None:
            for name, value in (
                ("data.rehearsal", self.data.rehearsal),
                ("training.average_with_start", self.training.average_with_start),
            ):
                if value:
                    raise contradiction(
                        f"{name} is set, but model.start_from is null, so there is nothing that could be forgotten",
                        f"leave {name} out, or set model.start_from",
                    )
        return self

    @property
    def missing_modality_embeddings(self) -> bool:
        """Tell whether the network learns an embedding for a missing recording and one for a missing transcript."""
        drops = self.augment.missing
        return self.model.fusion in ("mmer", "naive", "auto") and (
            self.model.missing_modality_embeddings or drops.speech > 0 or drops.text > 0
        )

    @property
    def freezes_sound(self) -> bool:
        """Tell whether layers of the speech encoder that stay as they are read the sound."""
        train = self.model.speech.train
        return train == "frozen" or LAST_LAYERS.fullmatch(train) is not None

    @property
    def stores_variants(self) -> bool:
        """Tell whether the sound of second views is one of `augment.speech.variants`."""
        return self.freezes_sound and self.augment.speech.variants > 0

    @property
    def changes_second_sound(self) -> bool:
        """Tell whether second views that are made on the fly change the sound."""
        augment = self.augment
        on_the_fly = augment.views is None or augment.views_use == "beside"
        changes = augment.speech.probability > 0 and (not self.freezes_sound or self.stores_variants)
        return on_the_fly and changes and self.objectives.augmented_contrastive_weight > 0

    def dump(self) -> str:
        """Write the complete recipe as YAML, defaults included; `load_recipe` reads an equal recipe from it."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def differences(self, other: "Recipe") -> list[str]:
        """List the dotted paths of settings that differ from those of `other` and change the results of a run."""
        mine, theirs = dict(values(self.run_as(other))), dict(values(other))
        return [path for path, value in mine.items() if theirs[path] != value]

    def run_as(self, other: "Recipe") -> "Recipe":
        """Copy this recipe with the `RUN_SETTINGS` of another one."""
        settings = {name: getattr(other.training, name) for name in RUN_SETTINGS}
        return self.model_copy(update={"training": self.training.model_copy(update=settings)})


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe that ships with the package or a YAML file.

    Args:
        name_or_path: a name of `recipe_names()`, or the path of a YAML file with the same sections.
        overrides: settings as `a.b=c`, later ones winning. `c` is what is written, so that a path or a name may hold
            anything; for a list, items with commas between them, as `protocol.test=F01,M02` or `[F01, M02]`, of which
            one with a comma is in quotation marks; for a section or a mapping, YAML.

    Text is never a number, a date, true, false or null but for a setting that is such. A setting by the name that it
    had before (`RENAMED`) is taken, and a line in the log gives the new name.

    Raises:
        RecipeError: no such recipe, not YAML, an unknown key, or a value that is not allowed; says where.
    """
    return _load(*read_recipe(name_or_path), overrides)


def changed_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return a recipe with settings changed, as `load_recipe` takes them.

    Raises:
        RecipeError: as for `load_recipe`.
    """
    return _load("recipe", recipe.dump(), overrides)


def load_run_recipe(folder: Path) -> Recipe:
    """Load the `recipe.yaml` of a run folder; old names of settings are accepted silently.

    Raises:
        RecipeError: as for `load_recipe`.
    """
    return _load(*read_recipe(str(folder / "recipe.yaml")), silent=True)


def _load(source: str, text: str, overrides: Sequence[str] = (), *, silent: bool = False) -> Recipe:
    named = [(f"override {override[:200]!r}", override) for override in overrides]
    return read_settings(Recipe, text, source, named, silent=silent)
