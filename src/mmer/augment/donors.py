"""Choice of the speaker whose voice a view borrows: same emotion and split, another speaker."""

from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mmer.corpora.corpus import Corpus
from mmer.corpora.labels import nearest
from mmer.errors import CorpusError, MMERError, Parameter

_NEAR = ("session", "fold")  # columns from which folds are usually made


class Donors:
    """Sampler of recordings whose voice a view borrows.

    A donor is another speaker with the same emotion in the same split. Folds are not known yet. Utterances of the
    source's session train in the same folds as the source, so donors of that session are preferred, then those of the
    same fold. `within` makes one column mandatory.

    Args:
        corpus: the recordings.
        within: column that source and donor must share; with None, session and fold are preferred, not required.

    Raises:
        CorpusError: the column does not exist or is empty.
    """

    def __init__(self, corpus: Corpus, within: str | None = None) -> None:
        table = corpus.table
        if within is not None and within not in table:
            found = f"no column {within!r}{nearest(within, list(table.columns))}"
            raise CorpusError(f"{corpus.source}: {found}; its columns are {', '.join(table.columns)}")
        if within is not None and table[within].isna().all():
            raise CorpusError(
                f"{corpus.source}: the column {within} is empty; fill it in, or leave out ",
                Parameter("within"),
            )
        self.within = within
        self._binding = ["emotion", "split", *([within] if within else [])]
        self._sides: dict[tuple[str, ...], list[int]] = defaultdict(list)
        eligible = table["emotion"].notna() & table["speaker"].notna() & table["audio_path"].notna()
        self._rows = table.to_dict("records")
        for index in np.flatnonzero(eligible):
            self._sides[self._side(self._rows[index])].append(int(index))

    def draw(self, source: int, random: np.random.Generator) -> int:
        """Draw the row of a donor for the source in this row of the table.

        Raises:
            MMERError: there is no donor; the message says why.
        """
        row = self._rows[source]
        for name in ("emotion", "speaker"):
            if pd.isna(row[name]):
                raise MMERError(f"no other voice: the {name} of the source is not known")
        others = [
            index for index in self._sides[self._side(row)] if self._rows[index]["speaker"] != row["speaker"]
        ]
        if not others:
            where = " and ".join(
                f"{name} {row[name]}" for name in self._binding if name != "emotion" and pd.notna(row[name])
            )
            raise MMERError(f"no other voice: nobody else is {row['emotion']}{where and ' in '}{where}")
        for name in _NEAR if self.within is None else ():
            if near := [
                index for index in others if pd.notna(row[name]) and self._rows[index][name] == row[name]
            ]:
                others = near
                break
        return int(random.choice(others))

    def _side(self, row: Mapping[Hashable, Any]) -> tuple[str, ...]:
        return tuple("" if pd.isna(row[name]) else str(row[name]) for name in self._binding)
