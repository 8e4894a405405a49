"""Other names for the emotions of a corpus: the canonical ones, or those of a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mmer.corpora.corpus import Corpus, listing
from mmer.corpora.labels import canonical, nearest
from mmer.corpora.tables import DELIMITERS, read_table
from mmer.errors import CorpusError, RecipeError
from mmer.recipes import parse_yaml
from mmer.regular_files import refuse_special

LabelMap = Mapping[str, str | None]
"""New name of each emotion; None for utterances that are to have none."""


def read_label_map(path: Path) -> dict[str, str | None]:
    """Read a label map: YAML or JSON with `excited: happy`, or CSV or TSV with the columns `from` and `to`.

    Raises:
        CorpusError: no such file, not readable as what its suffix says, or an entry that is no text.
    """
    suffix = path.suffix.lower()
    if suffix in DELIMITERS:
        table = read_table(path)
        if list(table.columns) != ["from", "to"]:
            raise CorpusError(f"{path}: has the columns {', '.join(table.columns)}; a label map has from, to")
        if repeated := table["from"][table["from"].duplicated()].tolist():
            raise CorpusError(f"{path}: {repeated[0]!r} is given twice")
        entries: Any = dict(zip(table["from"].tolist(), table["to"].tolist(), strict=True))
    elif suffix in (".yaml", ".yml", ".json"):
        refuse_special(path, CorpusError)
        try:
            entries = parse_yaml(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise CorpusError(f"{path}: cannot be read: {reason}") from None
        except RecipeError as error:
            raise CorpusError(str(error)) from None
    else:
        raise CorpusError(f"{path}: unknown kind of label map {suffix!r}; known are .yaml, .json, .csv, .tsv")
    if not isinstance(entries, dict) or not entries:
        raise CorpusError(f"{path}: holds no entries such as excited: happy")
    for before, after in entries.items():
        if not isinstance(before, str) or not isinstance(after, str | None):
            wrong = before if not isinstance(before, str) else after
            raise CorpusError(f"{path}: {wrong!r} is no text; put it in quotes")
    return entries


def rename_emotions(corpus: Corpus, label_map: LabelMap) -> Corpus:
    """Rename emotions.

    A key is an emotion of the corpus by the name it has there, by another name of the same emotion (`exc` is
    `excited`), or by the corpus's own label in `original_emotion`. All are renamed at once, so names may be exchanged.
    The column `original_emotion` is added where there is none.

    Raises:
        CorpusError: an emotion that does not occur, with the nearest that does.
    """
    emotions = corpus.table["emotion"].copy()
    for before, after in label_map.items():
        emotions[_rows(corpus, before)] = None if after is None else _canonical_or(after)
    return _relabeled(corpus, emotions)


def with_canonical_emotions(corpus: Corpus) -> Corpus:
    """Give emotions the names that all corpora share; a name unknown there stays, and a note says so."""
    names = {label: _canonical_or(label) for label in corpus.emotions}
    unknown = [label for label in corpus.emotions if not _is_known(label)]
    notes = [listing("labels are not known here and stay as they are", unknown)] if unknown else []
    emotions = [None if label is None else names[label] for label in corpus.table["emotion"]]
    return _relabeled(corpus, pd.Series(emotions, dtype=object), notes)


def _relabeled(corpus: Corpus, emotions: pd.Series, notes: Sequence[str] = ()) -> Corpus:
    before = corpus.table["emotion"]
    table = corpus.table.assign(emotion=emotions)
    if "original_emotion" not in table and before.tolist() != emotions.tolist():
        table["original_emotion"] = before
    return Corpus(table, source=corpus.source, notes=[*corpus.notes, *notes])


def _rows(corpus: Corpus, label: str) -> pd.Series:
    table = corpus.table
    for column, name in (("emotion", label), ("emotion", _canonical_or(label)), ("original_emotion", label)):
        if column in table and (found := table[column] == name).any():
            return found
    raise CorpusError(
        f"{corpus.source}: no utterance is {label!r}{nearest(label, corpus.emotions)}; "
        f"its emotions are {', '.join(corpus.emotions) or 'not given'}"
    )


def _is_known(label: str) -> bool:
    try:
        canonical(label.replace("-", " "))
    except CorpusError:
        return False
    return True


def _canonical_or(label: str) -> str | None:
    """The canonical name of an emotion, or the label where there is none."""
    return canonical(label.replace("-", " ")) if _is_known(label) else label
