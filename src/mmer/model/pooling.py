"""Pooling: one vector for each sequence of a batch, whatever its padding."""

import torch
from torch import Tensor, nn

from mmer.model.configuration import Pooling as Kind

_SMALLEST_VARIANCE = 1e-6


class Pooling(nn.Module):
    """Pools the valid positions of a sequence.

    `max` is the paper's (section 2.2) and `mean` that of SUPERB. `attentive-statistics` is that of Okabe et al. (2018):
    with e_t = v tanh(W h_t + b) and a = softmax(e) over the valid positions,

        output = [sum_t a_t h_t ; sqrt(sum_t a_t (h_t - mean)^2)]

    Args:
        kind: one of these.
        size: width of the sequence.

    Attributes:
        output_size: width of the output: `size`, or twice as much for `attentive-statistics`.
    """

    def __init__(self, kind: Kind, size: int) -> None:
        super().__init__()
        self.kind = kind
        attends = kind == "attentive-statistics"
        self.output_size = 2 * size if attends else size
        self.attention = (
            nn.Sequential(nn.Linear(size, min(size, 128)), nn.Tanh(), nn.Linear(min(size, 128), 1))
            if attends
            else None
        )

    def forward(self, sequence: Tensor, mask: Tensor) -> Tensor:
        """Pool a batch.

        Args:
            sequence: (batch, positions, size).
            mask: (batch, positions) bool, true where valid; at least one in each row.

        Returns:
            (batch, output size).
        """
        if self.kind == "max":
            return sequence.masked_fill(~mask[:, :, None], torch.finfo(sequence.dtype).min).amax(dim=1)
        if self.attention is None:
            weights = mask[:, :, None].to(sequence.dtype)
            weights = weights / weights.sum(dim=1, keepdim=True)
        else:
            scores = self.attention(sequence).float()
            weights = scores.masked_fill(~mask[:, :, None], -torch.inf).softmax(dim=1).to(sequence.dtype)
        weights = weights.transpose(1, 2)
        mean = weights @ sequence  # (batch, 1, size); products would be as large as the sequence
        if self.attention is None:
            return mean[:, 0]
        # The variance has no gradient through the mean: the derivative is sum_t a_t (h_t - mean) = 0.
        deviation = sequence - mean.detach()
        variance = (weights @ (deviation * deviation))[:, 0]
        return torch.cat([mean[:, 0], variance.clamp(min=_SMALLEST_VARIANCE).sqrt()], dim=-1)
