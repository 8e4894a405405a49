"""Corpora: one table, its splits, and a reader for each released corpus."""

import os
from collections.abc import Callable

from mmer.corpora.corpus import Corpus, Progress
from mmer.corpora.iemocap import read_iemocap
from mmer.corpora.labels import nearest
from mmer.corpora.nemo import read_nemo
from mmer.corpora.spoken import make_spoken
from mmer.errors import CorpusError

__all__ = ["READERS", "Corpus", "make_spoken", "read_corpus", "read_iemocap", "read_nemo"]

READERS: dict[str, Callable[..., Corpus]] = {
    "iemocap": read_iemocap,
    "nemo": read_nemo,
    "spoken": make_spoken,
}
"""Reader of each corpus: from its folder (for `spoken`, the folder to make it in) to a corpus."""


def read_corpus(name: str, root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read a released corpus, or make `spoken`, by name.

    Args:
        name: one of `READERS`.
        root: folder of the unpacked release; for `spoken`, the folder to write to.
        progress: called with the number of recordings done so far and of all.

    Raises:
        CorpusError: an unknown name, or as the reader.
    """
    if name not in READERS:
        raise CorpusError(f"unknown corpus {name!r}{nearest(name, READERS)}; known are {', '.join(READERS)}")
    return READERS[name](root, progress=progress)
