"""The sections `objectives` and `training` of a recipe: the loss, and its optimization."""

import math
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from mmer.recipe.values import ActivationCheckpointing, Fraction, Order, Section, Seed


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
    """Arithmetic of the forward pass; on processors without AVX-512, bfloat16 is slow; float16 needs a GPU."""
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
        """Count the optimizer steps of an epoch in which so many utterances are drawn, on one device."""
        return math.ceil(utterances / (self.batch_size * self.accumulation))

    def epochs_of(self, utterances: int) -> int:
        """Count the epochs, in each of which so many utterances are drawn, on one device."""
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
