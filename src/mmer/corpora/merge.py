"""Merging of corpora into one table."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mmer.corpora.corpus import Corpus, listing
from mmer.corpora.label_map import with_canonical_emotions
from mmer.corpora.tables import is_null, united
from mmer.errors import CorpusError
from mmer.files.writing import TABLES
from mmer.plain_text import name_of
from mmer.text.names import folded

_OF_A_CORPUS = ("speaker", "session", "dialogue")  # speaker 1 of two corpora is two people
_IDS = ("utterance_id", "source_utterance")


def merge(corpora: Sequence[Corpus]) -> Corpus:
    """Put the utterances of several corpora into one table.

    A table without the column `corpus` gets the name of its file or folder there. Speakers, sessions and dialogues
    become `<corpus>/<name>` unless they already begin like this, and so do all ids if one occurs twice. Emotions get
    their canonical names. A column that a corpus lacks is empty there.

    Returns:
        The corpus; its notes are those of the corpora, after their names, and one on speakers of the same name.

    Raises:
        CorpusError: there are fewer than two corpora, two unnamed corpora have files of the same name, or an utterance
            repeats.
    """
    if len(corpora) < 2:
        raise CorpusError(f"a merge needs two or more corpora, and {len(corpora)} is given")
    unnamed = Counter(_name(corpus) for corpus in corpora if corpus.table["corpus"].isna().any())
    if twice := [name for name, count in unnamed.items() if count > 1]:
        reason = f"two tables without a name in their column corpus are called {twice[0]}"
        raise CorpusError(
            f"{reason}; fill the column in, or rename one, so that their speakers are told apart"
        )
    ids = pd.concat([corpus.table["utterance_id"] for corpus in corpora])
    columns = [*_OF_A_CORPUS, *(_IDS if ids.duplicated().any() else ())]
    corpora = [with_canonical_emotions(corpus) for corpus in corpora]
    table = united([_prefixed(corpus, columns) for corpus in corpora])
    notes = [f"{_name(corpus)}: {note}" for corpus in corpora for note in corpus.notes]
    if shared := _of_several(table):
        told = (
            "speakers of the same name in several corpora are taken as different people; if they are the same, write "
            "one name into the column corpus of their tables"
        )
        notes.append(listing(told, shared))
    return Corpus(table, source=" + ".join(map(_name, corpora)), notes=notes)


def _name(corpus: Corpus) -> str:
    """Return the name of its folder, or of its table without the suffix."""
    name = Path(name_of(corpus.source))
    return name.stem if name.suffix.lower() in TABLES else name.name


def _of_several(table: pd.DataFrame) -> list[str]:
    """Return the names that speakers have in more than one corpus, without the prefix."""
    corpora: defaultdict[str, set[str]] = defaultdict(set)
    names: dict[str, str] = {}
    for speaker, corpus in table[["speaker", "corpus"]].dropna().itertuples(index=False, name=None):
        name = speaker.removeprefix(f"{corpus}/")
        corpora[folded(name)].add(corpus)
        names.setdefault(folded(name), name)
    return sorted(names[name] for name, found in corpora.items() if len(found) > 1)


def _prefixed(corpus: Corpus, columns: Sequence[str]) -> pd.DataFrame:
    """Return the table with the name of its corpus in `corpus`, and as a prefix in the columns."""
    names = corpus.table["corpus"].fillna(_name(corpus))

    def prefixed(name: str, value: Any) -> str | None:
        if is_null(value):
            return None
        return str(value) if str(value).startswith(f"{name}/") else f"{name}/{value}"

    table = corpus.table.assign(corpus=names)
    for column in columns:
        if column in table:
            table[column] = pd.Series(map(prefixed, names, table[column]), dtype=object)
    return table
