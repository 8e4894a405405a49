"""How many of the judged utterances a model was trained on."""

from collections.abc import Mapping

import pandas as pd

SPLITS = ("train", "validation")


def overlap(splits: pd.Series) -> dict[str, int]:
    """How many utterances of `TrainedOn.splits_of` there are, and how many in each split."""
    return {"utterances": len(splits), **{split: int((splits == split).sum()) for split in SPLITS}}


def overlap_note(counts: Mapping[str, int] | None) -> str | None:
    """What `overlap` counted, in a line; None where the model met none, or keeps no record."""
    if counts is None or not (seen := sum(counts[split] for split in SPLITS)):
        return None
    parts = " and ".join(f"{counts[split]} of its {split} split" for split in SPLITS if counts[split])
    return (
        f"{seen} of {counts['utterances']} utterances were in the training of the model ({parts}); "
        "figures of these say little about others"
    )
