"""A corpus: one table with a row for each utterance."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mmer.audio import probe
from mmer.corpora.labels import nearest
from mmer.corpora.summary import CorpusSummary, summarize
from mmer.corpora.tables import COLUMNS, read_audio_folder, read_table, write_table
from mmer.errors import AudioError, CorpusError

SECONDS = ("start", "end", "duration")
SPLITS = ("train", "validation", "test")
RECOGNIZED = "recognized"
"""The column with what a speech recognizer heard, beside the transcript; not every corpus has it."""

Progress = Callable[[int, int], None]
"""Called with the number of files read so far and the number of all files."""

_PROBES = 8  # threads that read headers; what they wait for is the disk


class Corpus:
    """Utterances, where their sound is, what is said, and what is known about them.

    A null is None in a text column and NaN in a column of seconds. `start` and `end` delimit the utterance in its
    file; null is the beginning or the end of the file. A null transcript means that nobody wrote down what is said;
    the empty transcript, that nothing is. A null `audio_path` is a transcript without sound.

    Args:
        table: `utterance_id` and `audio_path`, any other of `COLUMNS`, and extra columns, which are kept.
        source: what errors call the table.
        notes: what a reader left out or found different from the documentation.

    Raises:
        CorpusError: a missing column, a missing or repeated utterance id, a value of the wrong type, an unknown
            split, or an end that is not after its start.

    Attributes:
        table: `COLUMNS`, then the extra columns; the index counts from 0.
    """

    def __init__(self, table: pd.DataFrame, *, source: str = "table", notes: Iterable[str] = ()) -> None:
        self.source = source
        self.notes = list(notes)
        self.table = _checked(table, source)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a table (.parquet, .csv, .tsv, .jsonl) or a folder of audio with a `metadata.csv`.

        Relative audio paths are relative to the table's folder. In the folder's `metadata.csv` (or .jsonl, .parquet;
        the `audiofolder` convention of Hugging Face) `file_name` is the path and the utterance's id,
        `transcription` or `text` the transcript, and `label` the emotion.

        Raises:
            CorpusError: nothing there, an unknown suffix, a file that cannot be read, no row, or as `Corpus`.
        """
        path = Path(path)
        table = read_audio_folder(path) if path.is_dir() else read_table(path)
        if not len(table):
            raise CorpusError(f"{path}: holds no utterances")
        corpus = cls(table, source=str(path))
        folder = path if path.is_dir() else path.parent
        paths = corpus.table["audio_path"]
        corpus.table["audio_path"] = _texts([None if p is None else os.path.join(folder, p) for p in paths])
        return corpus

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the table as its suffix says; audio inside the table's folder gets a relative path.

        CSV, TSV and JSONL keep ids such as `007` and tell an empty transcript from a missing one.
        """
        path = Path(path)
        folder = os.path.abspath(path.parent)
        paths = [None if p is None else _relative(p, folder) for p in self.table["audio_path"]]
        write_table(self.table.assign(audio_path=_texts(paths)), path)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"<Corpus {self.source}: {len(self)} utterances>"

    @property
    def emotions(self) -> list[str]:
        """The emotions that occur, sorted."""
        return sorted(self.table["emotion"].dropna().unique())

    def select(self, mask: ArrayLike) -> "Corpus":
        """The utterances for which `mask`, one boolean per row, holds."""
        kept = self.table[np.asarray(mask, dtype=bool)]
        return Corpus(kept, source=self.source, notes=self.notes)

    def with_labels(
        self, labels: Sequence[str] | None = None, label_map: Mapping[str, str] | None = None
    ) -> tuple["Corpus", dict[str, int]]:
        """Rename emotions, then keep the utterances with one of the wanted ones.

        Args:
            labels: emotions to keep, after renaming; None for all.
            label_map: new name of an emotion, as `{"excited": "happy"}`.

        Returns:
            The corpus, and how many utterances of each other label were left out; `""` counts those without one.

        Raises:
            CorpusError: an emotion that does not occur, with the nearest that does.
        """
        label_map = label_map or {}
        self._check_emotions(label_map, self.emotions)
        emotions = self.table["emotion"].replace(dict(label_map))
        present = sorted(emotions.dropna().unique())
        self._check_emotions(labels or [], present)
        keep = emotions.isin(labels or present)
        dropped = emotions[~keep].fillna("").value_counts().sort_index()
        corpus = Corpus(self.table.assign(emotion=emotions)[keep], source=self.source, notes=self.notes)
        return corpus, {str(label): int(count) for label, count in dropped.items()}

    def check_audio(self) -> None:
        """Make sure that every audio file exists.

        Raises:
            CorpusError: how many do not, and the first of them.
        """
        paths = self.table["audio_path"].dropna().unique()
        missing = [path for path in paths if not os.path.isfile(path)]
        if missing:
            count = f"{len(missing)} of {len(paths)} audio files are"
            raise CorpusError(f"{self.source}: {count} not there, the first is {missing[0]}")

    def with_durations(self, progress: Progress | None = None) -> "Corpus":
        """Fill in missing durations from `start` and `end` or from the headers of the files.

        Utterances of a file whose header cannot be read, or that start behind its end, keep a null duration and
        are listed in `notes`.
        """
        table, notes = self.table.copy(), list(self.notes)
        span = table["end"] - table["start"].fillna(0.0)
        table["duration"] = table["duration"].fillna(span)
        unknown = table[table["duration"].isna() & table["audio_path"].notna()]
        paths = list(unknown["audio_path"].unique())
        lengths: dict[str, float | AudioError] = {}
        with ThreadPoolExecutor(_PROBES) as threads:
            for path, length in zip(paths, threads.map(_duration, paths), strict=True):
                lengths[path] = length
                if progress:
                    progress(len(lengths), len(paths))
        unreadable = [str(error) for error in lengths.values() if isinstance(error, AudioError)]
        if unreadable:
            notes.append(listing("recordings cannot be read", unreadable))
        known = {path: length for path, length in lengths.items() if isinstance(length, float)}
        rest = unknown["audio_path"].map(known).astype(float) - unknown["start"].fillna(0.0)
        if (rest < 0).any():
            notes.append(
                listing("utterances start behind the end", unknown["utterance_id"][rest < 0].tolist())
            )
        table.loc[unknown.index, "duration"] = rest.where(rest >= 0)
        return Corpus(table, source=self.source, notes=notes)

    def summary(self) -> CorpusSummary:
        """Counts, hours and gaps; rich prints it as tables."""
        return summarize(self.table, self.source, self.notes)

    def _check_emotions(self, asked: Iterable[str], present: list[str]) -> None:
        for label in asked:
            if label not in present:
                found = f"no utterance is {label!r}{nearest(label, present)}"
                raise CorpusError(
                    f"{self.source}: {found}; its emotions are {', '.join(present) or 'not given'}"
                )


def listing(what: str, items: Sequence[str], shown: int = 20) -> str:
    """A note: how many of what, and the names of the first ones."""
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return f"{len(items)} {what}: {', '.join(items[:shown])}{more}"


def _checked(table: pd.DataFrame, source: str) -> pd.DataFrame:
    names = [str(name) for name in table.columns]
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise CorpusError(
            f"{source}: column {repeated[0]} occurs {names.count(repeated[0])} times; rename one"
        )
    for name in ("utterance_id", "audio_path"):
        if name not in names:
            found = f"no column {name}{nearest(name, names)}; found {', '.join(names) or 'no columns'}"
            raise CorpusError(f"{source}: {found}; add or rename it")
    table = table.set_axis(names, axis=1).reset_index(drop=True)
    columns: dict[str, pd.Series] = {}
    for name in COLUMNS:
        column = table[name] if name in names else pd.Series([None] * len(table), dtype=object)
        columns[name] = _seconds(column, source) if name in SECONDS else _text(column, source)
    checked = pd.DataFrame(columns).join(table[[name for name in names if name not in COLUMNS]])
    _check_ids(checked["utterance_id"], source)
    _check_spans(checked, source)
    wrong = checked["split"].dropna()
    wrong = wrong[~wrong.isin(SPLITS)]
    if len(wrong):
        unknown = f"unknown split {wrong.iloc[0]!r} in {len(wrong)} rows"
        raise CorpusError(f"{source}: {unknown}; allowed are {', '.join(SPLITS)} and nothing")
    return checked


def _text(column: pd.Series, source: str) -> pd.Series:
    """Text or None. Numbers that name something (speaker 3) are written out, but ids must come as text."""
    nulls, is_id = column.isna(), column.name == "utterance_id"
    if pd.api.types.is_float_dtype(column) and not is_id and (column[~nulls] % 1 == 0).all():
        column = column.astype("Int64")  # whole numbers that a null in the column made floats
    values = [None if null else value for value, null in zip(column, nulls, strict=True)]
    for row, value in enumerate(values, 1):
        if value is None or isinstance(value, str):
            continue
        if is_id or not isinstance(value, int | np.integer) or isinstance(value, bool):
            found = f"{column.name} is {value!r} ({type(value).__name__}) in row {row}"
            raise CorpusError(
                f"{source}: {found}; it must be text, so that ids such as 007 stay what they are"
            )
    texts = [None if value is None else str(value) for value in values]
    if column.name != "transcript":
        texts = [text or None for text in texts]
    return _texts(texts)


def _texts(values: list[str | None]) -> pd.Series:
    return pd.Series(values, dtype=object)


def _seconds(column: pd.Series, source: str) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    wrong = (column.notna() & numbers.isna()) | np.isinf(numbers) | (numbers < 0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        found = f"{column.name} is {column.tolist()[row]!r} in row {row + 1}"
        raise CorpusError(f"{source}: {found}; it must be a number of seconds, 0 or more")
    return numbers


def _check_ids(ids: pd.Series, source: str) -> None:
    if ids.isna().any():
        row = int(np.flatnonzero(ids.isna())[0]) + 1
        raise CorpusError(f"{source}: {ids.isna().sum()} rows have no utterance_id, the first is row {row}")
    repeated = ids[ids.duplicated()].unique()
    if len(repeated):
        times = int((ids == repeated[0]).sum())
        found = f"{len(repeated)} utterance ids are not unique, the first is {repeated[0]!r} ({times} times)"
        raise CorpusError(f"{source}: {found}; make them unique")


def _check_spans(table: pd.DataFrame, source: str) -> None:
    wrong = table[table["end"] <= table["start"].fillna(0.0)]
    if len(wrong):
        row = wrong.iloc[0]
        found = f"end {row['end']:g} s is not after start {np.nan_to_num(row['start']):g} s"
        raise CorpusError(f"{source}: {found} in utterance {row['utterance_id']!r} ({len(wrong)} such rows)")


def _relative(path: str, folder: str) -> str:
    path = os.path.abspath(path)
    inside = os.path.commonpath([path, folder]) == folder if path[0] == folder[0] else False
    return Path(os.path.relpath(path, folder)).as_posix() if inside else path


def _duration(path: str) -> float | AudioError:
    try:
        return probe(path).duration
    except AudioError as error:
        return error
