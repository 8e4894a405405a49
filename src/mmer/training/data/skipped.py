"""Utterances that a run does not use as they are, and why: the rows of `skipped.csv`."""

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mmer.corpora.corpus import Corpus

Row = dict[Hashable, Any]
LEFT_OUT, CUT = "left out", "cut"


def left_out(corpus: Corpus, which: ArrayLike, kind: str, reason: str) -> list[Row]:
    """Return the rows of the utterances that are left out, (utterances,) bool, for a kind of reason and the reason."""
    rows = corpus.table[np.asarray(which, dtype=bool)]
    return [skip(row, kind, reason) for row in rows.to_dict("records")]


def skip(row: Row, kind: str, reason: str, what: str = LEFT_OUT) -> Row:
    """Return the row of one utterance, `LEFT_OUT` or `CUT`."""
    name, path = row["utterance_id"], row["audio_path"]
    return {"utterance_id": name, "audio_path": path, "what": what, "kind": kind, "reason": reason}


def skipped_table(skipped: Iterable[Row]) -> pd.DataFrame:
    """Make the table of `skipped.csv`: `utterance_id`, `audio_path`, `what`, `kind` and `reason`."""
    return pd.DataFrame(skipped, columns=["utterance_id", "audio_path", "what", "kind", "reason"])
