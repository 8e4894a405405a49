"""Overlap of judged utterances with a model's training data."""

from collections.abc import Mapping

import pandas as pd

from mmer.inference.trust.trained_on import SPLITS
from mmer.plain_text import counted


def overlap(splits: pd.Series) -> dict[str, int]:
    """Count the utterances of `TrainedOn.splits_of`, in all and in each split."""
    return {"utterances": len(splits), **{split: int((splits == split).sum()) for split in SPLITS}}


def in_training(counts: Mapping[str, int] | None) -> int:
    """Return how many of the utterances counted by `overlap` were in training; 0 where the model keeps no record."""
    return sum(counts[split] for split in SPLITS) if counts else 0


def overlap_note(counts: Mapping[str, int] | None) -> str | None:
    """Describe the counts of `overlap` in a line; None where they are 0, or the model keeps no record."""
    if counts is None or not (seen := in_training(counts)):
        return None
    parts = " and ".join(f"{counts[split]} of its {split} split" for split in SPLITS if counts[split])
    return (
        f"{counted(seen, 'utterance', 'was', 'were', of=counts['utterances'])} in the training of the model ({parts}); "
        "figures of these say little about others"
    )
