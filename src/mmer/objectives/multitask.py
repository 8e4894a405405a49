"""The multi-task objective, equation 1 of the paper: L = L_CE + alpha L_CTC + beta L_SCL + gamma L_ACL."""

from collections.abc import Mapping
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mmer.objectives.contrastive import (
    augmented_contrastive,
    official_augmented_contrastive,
    official_supervised_contrastive,
    supervised_contrastive,
)
from mmer.objectives.ctc import ctc_objective, full_precision, official_ctc_objective


class ObjectiveSettings(Protocol):
    """The settings that `multitask_loss` reads from a model's configuration; `MMERConfig` documents each."""

    formulation: Literal["paper", "official"]
    ctc_weight: float
    supervised_contrastive_weight: float
    augmented_contrastive_weight: float
    temperature: float
    class_weights: list[float] | None
    label_smoothing: float


def multitask_loss(
    config: ObjectiveSettings, summary: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Compute equation 1, with softmax cross-entropy of the logits as L_CE.

        L = L_CE + alpha L_CTC + beta L_SCL + gamma L_ACL

    An objective whose inputs are not in `summary`, or whose weight is 0, is left out. Everything is computed in float32
    or float64, under autocast too.

    Args:
        config: alpha (`ctc_weight`), beta (`supervised_contrastive_weight`), gamma (`augmented_contrastive_weight`),
            temperature, formulation, class weights and label smoothing.
        summary: inputs of the objectives, one row per utterance. Always: `logits` (utterances, emotions) and `labels`
            (utterances,) integer emotions. For L_CTC: `ctc_losses`, `ctc_present` and `ctc_infinite` (utterances,) of
            `ctc_losses`. For L_SCL and L_ACL: `embeddings` and, for L_ACL, `augmented_embeddings` of the second view,
            (utterances, d), both projected.

    Returns:
        L, a scalar.
        The unweighted scalar of each objective by name: `cross_entropy`, `ctc`, `supervised_contrastive`,
        `augmented_contrastive`.
        The scalar count of infinite CTC losses.
    """
    with torch.autocast(summary["labels"].device.type, enabled=False):
        return _full_precision_loss(config, summary)


def _full_precision_loss(
    config: ObjectiveSettings, summary: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    official = config.formulation == "official"
    labels = summary["labels"]
    logits = full_precision(summary["logits"])
    objectives = {
        "cross_entropy": F.cross_entropy(
            logits,
            labels,
            weight=None if config.class_weights is None else logits.new_tensor(config.class_weights),
            label_smoothing=config.label_smoothing,
        )
    }
    loss = objectives["cross_entropy"]
    infinite_ctc = torch.zeros((), dtype=torch.int64, device=labels.device)

    if "ctc_losses" in summary:
        losses, infinite = summary["ctc_losses"], summary["ctc_infinite"]
        objectives["ctc"] = (
            official_ctc_objective(losses, infinite)
            if official
            else ctc_objective(losses, summary["ctc_present"], infinite)
        )
        infinite_ctc = infinite.sum()
        loss = loss + config.ctc_weight * objectives["ctc"]
    if "embeddings" not in summary:
        return loss, objectives, infinite_ctc
    embeddings = full_precision(summary["embeddings"])
    if config.supervised_contrastive_weight:
        supervised = official_supervised_contrastive if official else supervised_contrastive
        objectives["supervised_contrastive"] = supervised(embeddings, labels, config.temperature)
        loss = loss + config.supervised_contrastive_weight * objectives["supervised_contrastive"]
    if "augmented_embeddings" in summary:
        augmented = official_augmented_contrastive if official else augmented_contrastive
        objectives["augmented_contrastive"] = augmented(
            embeddings, full_precision(summary["augmented_embeddings"]), config.temperature
        )
        loss = loss + config.augmented_contrastive_weight * objectives["augmented_contrastive"]
    return loss, objectives, infinite_ctc
