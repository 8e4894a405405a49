"""Corpora: one table, its splits, and a reader for each released corpus."""

import os
from collections.abc import Callable
from functools import partial

from mmer.corpora.corpus import Corpus, Progress
from mmer.corpora.labels import nearest
from mmer.corpora.readers.crema_d import read_crema_d
from mmer.corpora.readers.emns import read_emns
from mmer.corpora.readers.emov_db import read_emov_db
from mmer.corpora.readers.emozionalmente import read_emozionalmente
from mmer.corpora.readers.esd import read_esd
from mmer.corpora.readers.file_grammars import GRAMMARS
from mmer.corpora.readers.file_names import read_file_names
from mmer.corpora.readers.iemocap import read_iemocap
from mmer.corpora.readers.jl_corpus import read_jl_corpus
from mmer.corpora.readers.m3ed import read_m3ed
from mmer.corpora.readers.mead import read_mead
from mmer.corpora.readers.meld import read_meld
from mmer.corpora.readers.msp_improv import read_msp_improv
from mmer.corpora.readers.msp_podcast import read_msp_podcast
from mmer.corpora.readers.nemo import read_nemo
from mmer.corpora.readers.pavoque import read_pavoque
from mmer.corpora.readers.resd import read_resd
from mmer.corpora.readers.shemo import read_shemo
from mmer.corpora.synthetic.irony import make_irony
from mmer.corpora.synthetic.spoken import make_spoken
from mmer.errors import CorpusError, reading

__all__ = ["READERS", "Corpus", "make_irony", "make_spoken", "read_corpus", "read_iemocap", "read_nemo"]

READERS: dict[str, Callable[..., Corpus]] = {
    "iemocap": read_iemocap,
    "crema-d": read_crema_d,
    **{name: partial(read_file_names, name) for name in GRAMMARS},
    "meld": read_meld,
    "esd": read_esd,
    "emov-db": read_emov_db,
    "jl-corpus": read_jl_corpus,
    "emns": read_emns,
    "mead": read_mead,
    "msp-podcast": read_msp_podcast,
    "msp-improv": read_msp_improv,
    "nemo": read_nemo,
    "shemo": read_shemo,
    "emozionalmente": read_emozionalmente,
    "pavoque": read_pavoque,
    "m3ed": read_m3ed,
    "resd": read_resd,
    "spoken": make_spoken,
}
"""Reader of each corpus: from its folder (for `spoken`, the folder to make it in) to a corpus."""


def check_corpus_name(name: str) -> None:
    """Check that `read_corpus` knows a corpus.

    Raises:
        CorpusError: it does not.
    """
    if name not in READERS:
        raise CorpusError(f"unknown corpus {name!r}{nearest(name, READERS)}; known are {', '.join(READERS)}")


def read_corpus(name: str, root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read a released corpus, or make `spoken`, by name.

    Args:
        name: one of `READERS`.
        root: folder of the unpacked release; for `spoken`, the folder to write to.
        progress: called with the number of recordings done so far and of all.

    Raises:
        CorpusError: the name is unknown, or the reader raises one.
    """
    check_corpus_name(name)
    with reading(root, f"the corpus {name}", CorpusError):
        return READERS[name](root, progress=progress)
