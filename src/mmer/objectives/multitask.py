"""The multi-task objective of equation 1: L = L_CE + alpha L_CTC + beta L_SCL + gamma L_ACL."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mmer.objectives.contrastive import (
    augmented_contrastive,
    official_augmented_contrastive,
    official_supervised_contrastive,
    supervised_contrastive,
)
from mmer.objectives.ctc import ctc_objective, official_ctc_objective

if TYPE_CHECKING:
    from mmer.model.configuration import MMERConfig


def multitask_loss(
    config: "MMERConfig",
    *,
    logits: Tensor,
    labels: Tensor,
    ctc_logits: Tensor | None = None,
    frame_counts: Tensor | None = None,
    ctc_labels: Tensor | None = None,
    embeddings: Tensor | None = None,
    augmented_embeddings: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Weighted sum of the objectives whose inputs are there and whose weight is not zero.

    Args:
        config: weights, temperature, formulation, class weights, label smoothing.
        logits: (utterances, emotions).
        labels: (utterances,) integer emotions.
        ctc_logits: (utterances, frames, symbols).
        frame_counts: (utterances,) valid frames.
        ctc_labels: (utterances, characters), padded with -100.
        embeddings: (utterances, size), contrastive projection of the original view.
        augmented_embeddings: (utterances, size), contrastive projection of the augmented view.

    Returns:
        The weighted sum; the unweighted value of each objective; the number of infinite CTC losses left out.
    """
    official = config.formulation == "official"
    class_weights = None
    if config.class_weights is not None:
        class_weights = torch.tensor(config.class_weights, dtype=torch.float32, device=logits.device)
    objectives = {
        "cross_entropy": F.cross_entropy(
            logits.float(), labels, weight=class_weights, label_smoothing=config.label_smoothing
        )
    }
    loss = objectives["cross_entropy"]
    infinite_ctc = torch.zeros((), dtype=torch.int64, device=logits.device)

    if ctc_logits is not None and frame_counts is not None and ctc_labels is not None:
        ctc = official_ctc_objective if official else ctc_objective
        objectives["ctc"], infinite_ctc = ctc(ctc_logits, frame_counts, ctc_labels)
        loss = loss + config.ctc_weight * objectives["ctc"]
    if embeddings is not None and config.supervised_contrastive_weight:
        supervised = official_supervised_contrastive if official else supervised_contrastive
        objectives["supervised_contrastive"] = supervised(embeddings.float(), labels, config.temperature)
        loss = loss + config.supervised_contrastive_weight * objectives["supervised_contrastive"]
    if embeddings is not None and augmented_embeddings is not None:
        augmented = official_augmented_contrastive if official else augmented_contrastive
        objectives["augmented_contrastive"] = augmented(
            embeddings.float(), augmented_embeddings.float(), config.temperature
        )
        loss = loss + config.augmented_contrastive_weight * objectives["augmented_contrastive"]
    return loss, objectives, infinite_ctc
