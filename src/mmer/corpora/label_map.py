"""Rename the emotions of a corpus: to the canonical names, or to those of a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mmer.corpora.corpus import Corpus, listing
from mmer.corpora.delimited import DELIMITERS, read_delimited
from mmer.corpora.labels import canonical, nearest
from mmer.corpora.tables import brief
from mmer.errors import CorpusError, RecipeError, reading
from mmer.files.regular import refuse_special
from mmer.recipe.values import read_as
from mmer.recipes import parse_yaml, text_of
from mmer.text.names import folded, header, meant, tidy

LabelMap = Mapping[str, str | None]
"""New name of each emotion; None removes the label."""


def read_label_map(path: Path) -> dict[str, str | None]:
    """Read a label map: YAML or JSON with `excited: happy`, or CSV or TSV with the columns `from` and `to`.

    Names are text, also `01`, `no` and `1e3`. An empty cell is None, and so is `null` without quotation marks in YAML
    and JSON.

    Raises:
        CorpusError: the file does not exist, cannot be read in the format of its suffix, or has an entry that is no
            text.
    """
    suffix = path.suffix.lower()
    pairs: list[tuple[Any, Any]]
    if suffix in DELIMITERS:
        with reading(path, suffix[1:], CorpusError):
            columns, _ = read_delimited(path)
        names = {header(name): values for name, values in columns.items()}
        if list(names) != ["from", "to"]:
            raise CorpusError(f"{path}: has the columns {', '.join(columns)}; a label map has from, to")
        pairs = list(zip(names["from"], names["to"], strict=True))
    elif suffix in (".yaml", ".yml", ".json"):
        refuse_special(path, CorpusError)
        try:
            with reading(path, suffix[1:], CorpusError):
                entries = parse_yaml(text_of(path, "utf-8-sig"), str(path))
        except RecipeError as error:
            raise CorpusError(str(error)) from None
        read = read_as(entries, dict[str, str | None])
        pairs = list(read.items()) if isinstance(read, dict) else []
    else:
        raise CorpusError(f"{path}: unknown kind of label map {suffix!r}; known are .yaml, .json, .csv, .tsv")
    if not pairs:
        raise CorpusError(f"{path}: holds no entries such as excited: happy")
    label_map: dict[str, str | None] = {}
    for before, after in pairs:
        if not isinstance(before, str) or not isinstance(after, str | None):
            raise CorpusError(f"{path}: {brief(before)} becomes {brief(after)}; both must be names")
        if tidy(before) in label_map:
            raise CorpusError(f"{path}: {tidy(before)!r} is given twice")
        label_map[tidy(before)] = None if after is None else tidy(after) or None
    return label_map


def rename_emotions(corpus: Corpus, label_map: LabelMap) -> Corpus:
    """Rename emotions.

    A key is an emotion of the corpus by the name it has there, by another name of the same emotion (`exc` is
    `excited`), or by the corpus's own label in `original_emotion`. All are renamed
    simultaneously, so names may be swapped. The column `original_emotion` is added where missing.

    Raises:
        CorpusError: an emotion does not occur; the message names the nearest that does.
    """
    emotions = corpus.table["emotion"].copy()
    for before, after in label_map.items():
        emotions[_rows(corpus, before)] = None if after is None else _canonical_or(after)
    return _relabeled(corpus, emotions)


def with_canonical_emotions(corpus: Corpus) -> Corpus:
    """Give emotions their canonical names; keep an unknown name and add a note."""
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
    emotions = corpus.table["emotion"]
    known = meant(label, corpus.emotions) or _canonical_or(label)
    if (found := emotions == known).any():
        return found
    if "original_emotion" in corpus.table:
        names = corpus.table["original_emotion"]
        alike = [isinstance(name, str) and folded(name) == folded(label) for name in names]
        exact = names == label
        if any(alike):
            return exact if exact.any() else pd.Series(alike, index=names.index)
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
    """Return the canonical name of an emotion, or the label if there is none."""
    return canonical(label.replace("-", " ")) if _is_known(label) else label
