"""Sampling order within an epoch."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from mmer.recipe.values import Order


class EpochSampler(Sampler[int]):
    """Sampler whose order depends only on seed and epoch, so that a resumed run keeps it.

    `shuffled` is a random order. `by_length` shuffles batches of similar length. `balanced` keeps the proportions of
    emotions constant over the epoch, and orders utterances in pairs of one emotion and, if possible, two speakers, so
    that every utterance of an even batch has a positive in the supervised contrastive objective. If an emotion has an
    odd number of utterances, one of them, a different one in each epoch, occurs twice.

    Args:
        order: one of these.
        emotions: (utterances,) labels.
        speakers: (utterances,) names, None where unknown.
        lengths: (utterances,) in any unit.
        batch_size: number of utterances in a batch.
        seed: any integer.
    """

    def __init__(
        self,
        order: Order,
        *,
        emotions: Sequence[str],
        speakers: Sequence[str | None],
        lengths: list[int],
        batch_size: int,
        seed: int,
    ) -> None:
        self.order, self.lengths, self.batch_size, self.seed = order, lengths, batch_size, seed
        self.speakers = np.array([speaker or "" for speaker in speakers], dtype=object)
        self.classes = [np.flatnonzero(np.array(emotions) == emotion) for emotion in sorted(set(emotions))]
        self.epoch = 0

    def __len__(self) -> int:
        if self.order == "balanced":
            return sum(len(members) + len(members) % 2 for members in self.classes)
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        # Not `seed_for`: another order would change the results of every recorded run, and of runs to resume.
        seed = self.seed * 100_003 + self.epoch
        if self.order == "balanced":
            return iter(self._balanced(np.random.default_rng(seed)))
        generator = torch.Generator().manual_seed(seed)
        if self.order == "by_length":
            return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator))
        return iter(torch.randperm(len(self), generator=generator).tolist())

    def _balanced(self, random: np.random.Generator) -> list[int]:
        pairs, places = [], []
        for members in self.classes:
            members = random.permutation(members)
            # Sorted by speaker, the utterance half of the way round has another speaker, if none has more than half.
            _, speaker = np.unique(self.speakers[members], return_inverse=True)
            members = members[np.argsort(random.permutation(speaker.max() + 1)[speaker], kind="stable")]
            half = (len(members) + 1) // 2
            found = np.stack([members[:half], np.roll(members, -half)[:half]], axis=1)
            pairs.append(random.permutation(found))
            places.append((np.arange(half) + random.random()) / half)
        order = np.argsort(np.concatenate(places), kind="stable")
        return np.concatenate(pairs)[order].ravel().tolist()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, from 0."""
        self.epoch = epoch
