"""In which order an epoch meets its utterances, and so which of them share a batch."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from mmer.recipe.values import Order


class EpochSampler(Sampler[int]):
    """An order of the training utterances that depends on seed and epoch alone, so that a resumed run keeps it.

    `shuffled` is any order. `by_length` shuffles batches of similar length. `balanced` keeps the shares of the emotions
    alike in all parts of the epoch, and has utterances in pairs of one emotion and, where there are several, of two
    speakers, so that every utterance of an even batch has a positive in the supervised contrastive objective. Where an
    emotion has an odd number of utterances, one of them, another in each epoch, comes twice.

    Args:
        order: which of these.
        emotions: (utterances,).
        speakers: (utterances,), null where not known.
        lengths: (utterances,), of any unit.
        batch_size: utterances of a batch.
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
            # Speakers one after another: half of the way round is another speaker, if none has more than half.
            _, speaker = np.unique(self.speakers[members], return_inverse=True)
            members = members[np.argsort(random.permutation(speaker.max() + 1)[speaker], kind="stable")]
            half = (len(members) + 1) // 2
            found = np.stack([members[:half], np.roll(members, -half)[:half]], axis=1)
            pairs.append(random.permutation(found))
            places.append((np.arange(half) + random.random()) / half)
        order = np.argsort(np.concatenate(places), kind="stable")
        return np.concatenate(pairs)[order].ravel().tolist()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0."""
        self.epoch = epoch
