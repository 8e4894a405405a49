"""The two contrastive objectives: supervised (SCL) and augmented (ACL), section 2.3 of the paper.

Both come in two formulations. `paper` is the textbook form: embeddings on the unit sphere, the temperature
inside the softmax, no utterance its own positive. `official` repeats the published code number for number.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def supervised_contrastive(embeddings: Tensor, labels: Tensor, temperature: float = 0.07) -> Tensor:
    """Pull utterances of one emotion together and push the others away (`formulation: paper`).

    For anchor i with positives P(i), the other utterances of its emotion, and z = embedding / |embedding|:

        L = mean over i of  -1/|P(i)| * sum over p in P(i) of log s(i, p)
        s(i, p) = exp(z_i.z_p / t) / sum over a != i of exp(z_i.z_a / t)

    Anchors without a positive are left out; a batch without any positive costs 0.

    Args:
        embeddings: (utterances, size), any scale.
        labels: (utterances,) integer emotions.
        temperature: t > 0.

    Returns:
        Scalar >= 0.
    """
    normalized = F.normalize(embeddings, dim=-1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    similarity = (normalized @ normalized.T / temperature).masked_fill(itself, -torch.inf)
    positives = (labels[:, None] == labels[None, :]) & ~itself
    positive_counts = positives.sum(dim=1)
    if len(labels) < 2:
        return embeddings.sum() * 0.0
    log_probabilities = similarity.log_softmax(dim=1)
    per_anchor = -torch.where(positives, log_probabilities, 0.0).sum(dim=1) / positive_counts.clamp(min=1)
    return per_anchor.sum() / (positive_counts > 0).sum().clamp(min=1)


def augmented_contrastive(
    embeddings: Tensor, augmented_embeddings: Tensor, temperature: float = 0.07
) -> Tensor:
    """Find the augmented view of each utterance among those of the batch (`formulation: paper`).

        L = mean over i of  -log( exp(z_i.z'_i / t) / sum over j of exp(z_i.z'_j / t) ),   z = embedding / |embedding|

    Args:
        embeddings: (utterances, size) of the original views.
        augmented_embeddings: (utterances, size) of the augmented views, in the same order.
        temperature: t > 0.

    Returns:
        Scalar >= 0.
    """
    return official_augmented_contrastive(
        F.normalize(embeddings, dim=-1), F.normalize(augmented_embeddings, dim=-1), temperature
    )


def official_supervised_contrastive(embeddings: Tensor, labels: Tensor, temperature: float = 0.07) -> Tensor:
    """Supervised contrastive loss as the published code computes it (`formulation: official`).

    Embeddings keep their length, an utterance counts as its own positive, and the temperature divides the
    logarithm of the softmax, so it only scales the loss. Shapes as in `supervised_contrastive`.
    """
    log_probabilities = (embeddings @ embeddings.T).log_softmax(dim=1) / temperature
    same_emotion = labels[:, None] == labels[None, :]
    return -torch.where(same_emotion, log_probabilities, 0.0).sum() / same_emotion.sum()


def official_augmented_contrastive(
    embeddings: Tensor, augmented_embeddings: Tensor, temperature: float = 0.07
) -> Tensor:
    """Augmented contrastive loss as the published code computes it: embeddings keep their length.

    Shapes as in `augmented_contrastive`.
    """
    similarity = embeddings @ augmented_embeddings.T / temperature
    return F.cross_entropy(similarity, torch.arange(len(similarity), device=similarity.device))
