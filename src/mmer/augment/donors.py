"""Whose voice a view may borrow: another speaker of the same emotion, on the source's own side of the split."""

from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mmer.corpora.corpus import Corpus
from mmer.corpora.labels import nearest
from mmer.errors import CorpusError, MMERError, Parameter

_NEAR = ("session", "fold")  # columns that folds are likely to be made of


class Donors:
    """Draws the recording whose voice a view gets.

    It is of another speaker, of the same emotion and in the same split. Which folds will be made of the corpus is not
    known yet; whoever shares the session with the source trains where the source trains, so that such donors are
    preferred, then those of the same fold. `within` makes one column binding.

    Args:
        corpus: the recordings.
        within: column that source and donor must share; null prefers, but does not ask for, session and fold.

    Raises:
        CorpusError: no such column, or an empty one.
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
        """Row of the donor for the source in this row of the table.

        Raises:
            MMERError: there is none, and why.
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
