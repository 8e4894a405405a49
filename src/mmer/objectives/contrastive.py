"""The contrastive objectives of section 2.3 of the paper: supervised (L_SCL) and augmented (L_ACL).

Both have two formulations. `paper` is the textbook form: embeddings are normalized to length 1, the temperature is
inside the softmax, and no utterance is its own positive. `official` repeats the published code number for number.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def supervised_contrastive(embeddings: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Compute L_SCL (section 2.3), which draws utterances of one emotion together (`formulation: paper`).

    For anchor i, let P(i) be the other utterances of its emotion and z = embedding / |embedding|:

        L_SCL = mean over i of  -1/|P(i)| * sum over p in P(i) of log s(i, p)
        s(i, p) = exp(z_i.z_p / tau) / sum over a != i of exp(z_i.z_a / tau)

    Anchors without a positive are left out. The loss of a batch without any positive is 0.

    Args:
        embeddings: (utterances, size), of any length.
        labels: (utterances,) integer emotions.
        temperature: tau > 0.

    Returns:
        Scalar >= 0.
    """
    normalized = F.normalize(embeddings, dim=-1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    similarity = (normalized @ normalized.T / temperature).masked_fill(itself, -torch.inf)
    positives = (labels[:, None] == labels[None, :]) & ~itself
    positive_counts = positives.sum(dim=1)
    log_probabilities = similarity.log_softmax(dim=1)  # nan in a batch of one, which has no positive
    per_anchor = -torch.where(positives, log_probabilities, 0.0).sum(dim=1) / positive_counts.clamp(min=1)
    return per_anchor.sum() / (positive_counts > 0).sum().clamp(min=1)


def augmented_contrastive(embeddings: Tensor, augmented_embeddings: Tensor, temperature: float) -> Tensor:
    """Compute L_ACL (section 2.3), which finds each utterance's augmented view in the batch (`formulation: paper`).

    With z = embedding / |embedding|, and z' the same of the augmented view:

        L_ACL = mean over i of  -log( exp(z_i.z'_i / tau) / sum over j of exp(z_i.z'_j / tau) )

    Args:
        embeddings: (utterances, size) of the original views.
        augmented_embeddings: (utterances, size) of the augmented views, in the same order.
        temperature: tau > 0.

    Returns:
        Scalar >= 0.
    """
    return official_augmented_contrastive(
        F.normalize(embeddings, dim=-1), F.normalize(augmented_embeddings, dim=-1), temperature
    )


def official_supervised_contrastive(embeddings: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Compute L_SCL as the published code does (`formulation: official`).

    Embeddings z keep their length, an utterance counts as its own positive, and the temperature divides the
    logarithm of the softmax, so that it only scales the loss. With P the pairs (i, p) of one emotion, i = p included:

        L_SCL = -1/|P| * sum over (i, p) in P of  1/tau * log( exp(z_i.z_p) / sum over a of exp(z_i.z_a) )

    Args:
        embeddings: (utterances, size).
        labels: (utterances,) integer emotions.
        temperature: tau > 0.

    Returns:
        Scalar >= 0.
    """
    log_probabilities = (embeddings @ embeddings.T).log_softmax(dim=1) / temperature
    same_emotion = labels[:, None] == labels[None, :]
    return -torch.where(same_emotion, log_probabilities, 0.0).sum() / same_emotion.sum()


def official_augmented_contrastive(
    embeddings: Tensor, augmented_embeddings: Tensor, temperature: float
) -> Tensor:
    """Compute L_ACL as the published code does (`formulation: official`).

    The formula is that of `augmented_contrastive`, with z the embeddings themselves, which keep their length.

    Args:
        embeddings: (utterances, size) of the original views.
        augmented_embeddings: (utterances, size) of the augmented views, in the same order.
        temperature: tau > 0.

    Returns:
        Scalar >= 0.
    """
    similarity = embeddings @ augmented_embeddings.T / temperature
    return F.cross_entropy(similarity, torch.arange(len(similarity), device=similarity.device))
