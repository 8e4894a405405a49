"""The table of views that `mmer augment` writes, and the check of which view may train in which fold."""

import os
import reprlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mmer.corpora.tables import DELIMITERS, Row, read_table
from mmer.errors import CorpusError, Function
from mmer.files.writing import writing
from mmer.plain_text import counted
from mmer.text.names import tidy


@dataclass(frozen=True, slots=True)
class View:
    """Second view of an utterance: other words, another sound, or both.

    Attributes:
        view_id: its name.
        source_utterance: id of the utterance it was made of.
        audio_path: its recording, mono FLAC at 16 kHz; None where only words were made, or where it is rejected.
        transcript: its words as the text path reads them.
        speech_generator, text_generator: what made its sound and its words; `none` where they are the source's.
        settings: what was drawn to make the sound, as JSON.
        voice: whose voice is heard: a speaker of the corpus, or `espeak:NAME`; None where that is not known.
        voices, texts: every speaker of the corpus whose voice, and whose words, were used.
        donor: id of the utterance whose voice was cloned; None for generators that clone none.
        seed: of its generators.
        duration: seconds.
        duration_ratio: of its duration to the source's.
        error_rate: character error rate of the recognizer that was asked; None without one.
        length_ratio: of the characters of its words to the source's.
        similarity: of its words to the source's, as the encoder sees them that was asked; None without one.
        rejected: why it is not to be used; None for a good view.
        failed: what gave the error in `rejected`: `source`, `voice` or the speech generator; None where a quality
            filter rejected it, and in tables of earlier versions.
    """

    view_id: str
    source_utterance: str
    audio_path: str | None
    transcript: str | None
    speech_generator: str
    text_generator: str
    settings: str
    voice: str | None
    voices: tuple[str, ...]
    texts: tuple[str, ...]
    donor: str | None
    seed: int
    duration: float | None = None
    duration_ratio: float | None = None
    error_rate: float | None = None
    length_ratio: float | None = None
    similarity: float | None = None
    rejected: str | None = None
    failed: str | None = None

    def breaks(self, trained: Collection[str], speakers: Collection[str]) -> str | None:
        """Return why the view may not train in a fold; None if it may.

        Args:
            trained: ids of the utterances that the fold trains on.
            speakers: those who say them.
        """
        if self.source_utterance not in trained:
            return f"it is made of {self.source_utterance}, which is not in training"
        for what, used in (("voice", self.voices), ("words", self.texts)):
            for speaker in used:
                if speaker not in speakers:
                    return f"it has the {what} of {speaker}, who is not in training"
        if self.donor is not None and self.donor not in trained:
            return f"it has the voice of the recording {self.donor}, which is not in training"
        return None


COLUMNS = tuple(field.name for field in fields(View))


def write_views(views: Iterable[View], path: str | os.PathLike[str]) -> None:
    """Write the table; audio inside its folder gets a relative path. Writing is atomic."""
    path = Path(path)
    folder = path.parent.resolve()
    rows = [{name: getattr(view, name) for name in COLUMNS} for view in views]
    for row in rows:
        if row["audio_path"] is not None:
            row["audio_path"] = Path(os.path.relpath(row["audio_path"], folder)).as_posix()
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    kinds = {"voices": pa.list_(pa.string()), "texts": pa.list_(pa.string()), "seed": pa.int64()}
    numbers = ("duration", "duration_ratio", "error_rate", "length_ratio", "similarity")
    kinds |= dict.fromkeys(numbers, pa.float64())
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    with writing(path) as part:
        table.to_parquet(part, index=False, schema=schema)


def read_views(path: str | os.PathLike[str]) -> list[View]:
    """Read the table, rejected views included; audio paths are absolute.

    A CSV or TSV file is read as the one of the published code of MMER: its `AugmentedText` is the words of a view of
    the utterance `FileName`, whose sound stays.

    Raises:
        CorpusError: it cannot be read, a column is missing, an id is not unique, or a recording is not there.
    """
    path = Path(path)
    if path.suffix.lower() in DELIMITERS:
        return _published_words(path)
    try:
        table = read_table(path)
    except CorpusError as error:
        advice = ("; name the views.parquet of ", Function("make_views"))
        raise CorpusError("views cannot be read from ", *error.args, *advice) from None
    if "failed" not in table:
        table["failed"] = None
    if missing := [name for name in COLUMNS if name not in table]:
        found = f"no column {missing[0]}; found {', '.join(map(str, table.columns))}"
        raise CorpusError(f"{path}: {found}; name the views.parquet of ", Function("make_views"))
    if len(repeated := table["view_id"][table["view_id"].duplicated()]):
        raise CorpusError(
            f"{path}: view ids are not unique, the first is {repeated.iloc[0]}; make the views again"
        )
    for name in _LISTS:
        if len(others := [value for value in table[name] if not isinstance(value, list | np.ndarray)]):
            raise CorpusError(
                f"{path}: {name} is {reprlib.repr(others[0])}, not a list of speakers; make the views again"
            )
    folder = path.parent.resolve()
    views = [View(**_values(row, folder)) for row in table[list(COLUMNS)].to_dict("records")]
    paths = [view.audio_path for view in views if view.audio_path is not None]
    gone = [name for name in paths if not os.path.isfile(name)]
    if gone:
        found = (
            f"{counted(len(gone), 'recording', 'is', 'are', of=len(paths))} not there, the first is {gone[0]}"
        )
        raise CorpusError(f"{path}: {found}; keep the table beside its folder audio, or make the views again")
    return views


def _published_words(path: Path) -> list[View]:
    """Create a view for each row with other words; it may train in the same folds as its utterance."""
    table = read_table(path, as_text=(_UTTERANCE, _WORDS))
    if missing := [name for name in (_UTTERANCE, _WORDS) if name not in table]:
        found = f"no column {missing[0]}; found {', '.join(map(str, table.columns))}"
        raise CorpusError(f"{path}: {found}; a table of other words has {_UTTERANCE} and {_WORDS}")
    rows = table[[_UTTERANCE, _WORDS]].dropna().astype(str)
    rows = rows[rows[_WORDS].str.strip() != ""].assign(**{_UTTERANCE: rows[_UTTERANCE].map(tidy)})
    if len(repeated := rows[_UTTERANCE][rows[_UTTERANCE].duplicated()]):
        raise CorpusError(f"{path}: {_UTTERANCE} {repeated.iloc[0]!r} has more than one row; leave one")
    return [
        View(
            view_id=f"{name}#{_WORDS}",
            source_utterance=name,
            audio_path=None,
            transcript=words,
            speech_generator="none",
            text_generator=_WORDS,
            settings="{}",
            voice=None,
            voices=(),
            texts=(),
            donor=None,
            seed=0,
        )
        for name, words in rows.itertuples(index=False, name=None)
    ]


_LISTS = ("voices", "texts")
"""Columns that hold lists of speakers."""
_UTTERANCE, _WORDS = "FileName", "AugmentedText"
"""Columns of the table of the published code."""


def _values(row: Mapping[Any, Any], folder: Path) -> Row:
    values: Row = {}
    for name, value in row.items():
        if name in _LISTS:
            values[name] = tuple(np.asarray(value).tolist())
        else:
            values[name] = None if pd.isna(value) else value
    if values["audio_path"] is not None:
        values["audio_path"] = os.path.join(folder, values["audio_path"])
    return values
