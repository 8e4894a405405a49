"""The corpus: a table with a row for each utterance."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mmer.audio.load import probe
from mmer.corpora.audio_files import files_on_disk
from mmer.corpora.audio_folders import names_files, read_audio_folder, utterances_of_files
from mmer.corpora.labels import nearest, quoting
from mmer.corpora.summary import CorpusSummary, summarize
from mmer.corpora.tables import COLUMNS, SECONDS, brief, is_null, read_table, with_columns, write_table
from mmer.errors import AudioError, CorpusError, Parameter, reading
from mmer.plain_text import counted
from mmer.text.names import folded, meant, tidy

SPLITS = ("train", "validation", "test")
RECOGNIZED = "recognized"
"""Optional column with the transcript of a speech recognizer, beside the reference transcript."""

Progress = Callable[[int, int], None]
"""Called with the number of files read so far and the number of all files."""

_NAMES = ("dialogue", "source_utterance")  # beside `COLUMNS`, where a corpus has them
_JOINED = ("emotion", "speaker", "session", "dialogue")
_PROBES = 8  # threads that read headers, which wait for the disk


class Corpus:
    """Utterances with their recordings, transcripts, labels and metadata.

    A missing value is None in a text column and NaN in a column of seconds. `start` and `end` delimit the utterance in
    its file; a missing value is the beginning or the end of the file. A transcript of None is unknown; an empty
    transcript means that nothing is said. An `audio_path` of None is a transcript without sound.

    Names are normalized, see `mmer.text.names.tidy`. Emotions, speakers, sessions and dialogues whose names differ
    only in case or Unicode form are merged under the most frequent name, so that no speaker is in both training and
    test; a note lists these names. Utterance ids keep their case, because it distinguishes utterances in some corpora.

    Args:
        table: `utterance_id` and `audio_path`, any other of `COLUMNS`, and extra columns, which are kept.
        source: name of the table in errors.
        notes: what a reader left out or found different from the documentation.

    Raises:
        CorpusError: a column is missing, an utterance id is missing or repeated, a value has the wrong type, a split is
            unknown, or an end is not after its start.

    Attributes:
        table: `COLUMNS`, then the extra columns; the index counts from 0.
    """

    def __init__(self, table: pd.DataFrame, *, source: str = "table", notes: Iterable[str] = ()) -> None:
        self.source = source
        self.notes = list(notes)
        self.table = _checked(table, source, self.notes)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a table (.parquet, .csv, .tsv, .jsonl) or a folder of audio with a `metadata.csv`.

        Relative audio paths are relative to the table's folder. A file whose name differs from the table only in case,
        blanks or Unicode form is accepted, and a note counts such files. In the folder's `metadata.csv` (or .jsonl,
        .parquet; the `audiofolder` convention of Hugging Face), and in any table with `file_name` and without
        `audio_path`, `file_name` is the path and the utterance's id, `transcription` or `text` the transcript, and
        `label` the emotion.

        Raises:
            CorpusError: the path does not exist, has an unknown suffix or cannot be read, the table has no row, or
                `Corpus` raises one.
        """
        path, notes = Path(path), []
        with reading(path, "a corpus", CorpusError):
            table = read_audio_folder(path, notes) if path.is_dir() else read_table(path, notes)
            if not path.is_dir() and names_files(table):
                table = utterances_of_files(table, path, path.parent)
            if not len(table):
                raise CorpusError(f"{path}: holds no utterances")
            corpus = cls(table, source=str(path), notes=notes)
            folder = path if path.is_dir() else path.parent
            paths, note = files_on_disk(corpus.table["audio_path"].tolist(), folder)
            corpus.table["audio_path"] = _texts(paths)
            corpus.notes += note
        return corpus

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the table in the format of its suffix; audio inside the table's folder gets a relative path.

        CSV, TSV and JSONL keep ids such as `007` and tell an empty transcript from a missing one.
        """
        path = Path(path)
        folder = os.path.abspath(path.parent)
        paths = [None if p is None else _relative(p, folder) for p in self.table["audio_path"]]
        write_table(self.table.assign(audio_path=_texts(paths)), path)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"<Corpus {self.source}: {counted(len(self), 'utterance')}>"

    @property
    def emotions(self) -> list[str]:
        """Return the emotions that occur, sorted."""
        return sorted(self.table["emotion"].dropna().unique())

    def in_split(self, split: str | None) -> np.ndarray:
        """Tell which utterances are in a split, as (utterances,) bool; all of them for None.

        Raises:
            CorpusError: none is; the message lists the splits of the corpus.
        """
        if split is None:
            return np.ones(len(self), bool)
        splits = self.table["split"]
        chosen = (splits == split).to_numpy(bool)
        if not chosen.any():
            if found := ", ".join(sorted(set(splits.dropna()))):
                told = f"the splits of the corpus are: {found}; choose another, or all, with "
            else:
                told = "the corpus has no splits, unlike RUN/corpus.parquet of a run; choose all with "
            raise CorpusError(
                f"{self.source}: no utterance is in the split {split}; {told}", Parameter("split")
            )
        return chosen

    def select(self, mask: ArrayLike) -> Self:
        """Keep the utterances for which `mask`, (utterances,) bool, is true."""
        selected = copy(self)  # rows of a checked table need no check
        selected.notes = list(self.notes)
        selected.table = self.table[np.asarray(mask, dtype=bool)].reset_index(drop=True)
        return selected

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
            CorpusError: an emotion does not occur; the message names the nearest that does.
        """
        emotions = self.table["emotion"].replace(self.renames(label_map or {}))
        present = sorted(emotions.dropna().unique())
        self._check_emotions(labels or [], present)
        keep = emotions.isin(labels or present)
        dropped = emotions[~keep].fillna("").value_counts().sort_index()
        corpus = Corpus(self.table.assign(emotion=emotions)[keep], source=self.source, notes=self.notes)
        return corpus, {str(label): int(count) for label, count in dropped.items()}

    def renames(self, label_map: Mapping[str, str]) -> dict[str, str]:
        """Return a label map by the emotions' names here, which may differ in case, blanks or Unicode form.

        Raises:
            CorpusError: an emotion does not occur; the message names the nearest that does.
        """
        renames = {meant(before, self.emotions) or before: after for before, after in label_map.items()}
        self._check_emotions(renames, self.emotions)
        return renames

    def with_durations(self, progress: Progress | None = None) -> "Corpus":
        """Fill in missing durations from `start` and `end` or from the headers of the files.

        Utterances of a file whose header cannot be read, or that start after its end, keep a missing duration and are
        listed in `notes`.
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
        """Summarize counts, hours and gaps; rich prints the summary as tables."""
        return summarize(self.table, self.source, self.notes)

    def _check_emotions(self, asked: Iterable[str], present: list[str]) -> None:
        for label in asked:
            if label not in present:
                found = f"no utterance is {label!r}{nearest(label, present)}"
                emotions = f"its emotions are {', '.join(present) or 'not given'}{quoting(label, present)}"
                raise CorpusError(f"{self.source}: {found}; {emotions}")


def listing(what: str, items: Sequence[str], shown: int = 20) -> str:
    """Format a note: what, how many, and the names of the first ones."""
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return f"{what} ({len(items)}): {', '.join(items[:shown])}{more}"


def _checked(table: pd.DataFrame, source: str, notes: list[str]) -> pd.DataFrame:
    given = [tidy(str(name)) for name in table.columns]
    for name, count in Counter(given).items():
        if count > 1:
            raise CorpusError(f"{source}: column {name} occurs {count} times; rename one")
    table = with_columns(table.set_axis(given, axis=1), (*COLUMNS, *_NAMES)).reset_index(drop=True)
    names = list(table.columns)
    if renamed := [
        f"{before} as {after}" for before, after in zip(given, names, strict=True) if before != after
    ]:
        notes.append(listing("columns are taken by the names that a corpus has", renamed))
    for name in ("utterance_id", "audio_path"):
        if name not in names:
            found = f"no column {name}{nearest(name, names)}; found {', '.join(names) or 'no columns'}"
            raise CorpusError(f"{source}: {found}; add or rename it")
    # As columns: pandas takes several times as long to set those of a table.
    columns: dict[str, pd.Series] = {}
    for name in COLUMNS:
        if name not in names:
            missing: list[str | None] = [None] * len(table)
            columns[name] = pd.Series(missing, dtype=float) if name in SECONDS else _texts(missing)
        else:
            columns[name] = (_seconds if name in SECONDS else _text)(table[name], source)
    for name in (name for name in names if name not in COLUMNS):
        columns[name] = _text(table[name], source) if name in _NAMES else table[name]
    for name in _JOINED:
        if name in columns:
            columns[name] = _joined(columns[name].rename(name), notes)
    checked = pd.DataFrame(columns)
    _check_ids(checked["utterance_id"], source)
    _check_spans(checked, source)
    wrong = checked["split"].dropna()
    wrong = wrong[~wrong.isin(SPLITS)]
    if len(wrong):
        unknown = f"unknown split {wrong.iloc[0]!r} in {counted(len(wrong), 'row')}"
        raise CorpusError(f"{source}: {unknown}; allowed are {', '.join(SPLITS)} and nothing")
    return checked


def _text(column: pd.Series, source: str) -> pd.Series:
    """Convert values to text or None. Numbers as names (speaker 3) are converted, but ids must be text."""
    is_id = column.name == "utterance_id"
    # As lists: pandas takes several times as long to iterate over a column itself.
    values = column.tolist()
    if not all(value is None or isinstance(value, str) for value in values):
        values = [None if null else value for value, null in zip(values, column.isna().tolist(), strict=True)]
    if not is_id and all(value is None or isinstance(value, float) for value in values):
        # Integers that became floats because of a missing value; longer ones have lost digits.
        whole = [value is None or (value % 1 == 0 and abs(value) < 2**53) for value in values]
        values = [None if value is None else int(value) for value in values] if all(whole) else values
    for row, value in enumerate(values, 1):
        if value is None or isinstance(value, str):
            continue
        if is_id or not isinstance(value, int | np.integer) or isinstance(value, bool):
            found = f"{column.name} is {brief(value)} ({type(value).__name__}) in row {row}"
            raise CorpusError(
                f"{source}: {found}; it must be text, so that ids such as 007 stay what they are"
            )
    texts = [None if value is None else str(value) for value in values]
    if column.name not in ("transcript", "audio_path"):
        names = {text: tidy(text) for text in set(texts) if text is not None}
        texts = [None if text is None else names[text] for text in texts]
    if column.name != "transcript":
        texts = [text or None for text in texts]
    return _texts(texts)


def _joined(column: pd.Series, notes: list[str]) -> pd.Series:
    """Replace names that differ only in case or Unicode form by the most frequent of them."""
    counts = Counter(name for name in column.tolist() if isinstance(name, str))
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name, _ in counts.most_common():
        alike[folded(name)].append(name)
    several = {names[0]: names[1:] for names in alike.values() if len(names) > 1}
    if not several:
        return column
    said = [f"{name!r} (also {', '.join(map(repr, others))})" for name, others in several.items()]
    notes.append(
        listing(f"names in the column {column.name} are written in several ways and taken as one", said)
    )
    return column.replace({other: name for name, others in several.items() for other in others})


def _texts(values: list[str | None]) -> pd.Series:
    return pd.Series(values, dtype=object)


def _seconds(column: pd.Series, source: str) -> pd.Series:
    if column.dtype == float and not (np.isinf(values := column.to_numpy()) | (values < 0)).any():
        return column
    numbers = []
    for row, value in enumerate(column, 1):
        try:
            number = math.nan if is_null(value) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.inf
        if number < 0 or math.isinf(number) or isinstance(value, bool):
            found = f"{column.name} is {brief(value)} in row {row}"
            raise CorpusError(f"{source}: {found}; it must be a number of seconds, 0 or more")
        numbers.append(number)
    return pd.Series(numbers, dtype=float)


def _check_ids(ids: pd.Series, source: str) -> None:
    if ids.isna().any():
        row = int(np.flatnonzero(ids.isna())[0]) + 1
        raise CorpusError(
            f"{source}: {counted(ids.isna().sum(), 'row', 'has', 'have')} no utterance_id, the first is row {row}"
        )
    repeated = ids[ids.duplicated()].unique()
    if len(repeated):
        times = int((ids == repeated[0]).sum())
        found = (
            f"{counted(len(repeated), 'utterance id', 'is', 'are')} not unique, the first is "
            f"{repeated[0]!r} ({times} times)"
        )
        raise CorpusError(f"{source}: {found}; make them unique")


def _check_spans(table: pd.DataFrame, source: str) -> None:
    wrong = table[table["end"] <= table["start"].fillna(0.0)]
    if len(wrong):
        row = wrong.iloc[0]
        found = f"end {row['end']:g} s is not after start {np.nan_to_num(row['start']):g} s"
        others = f", the first of {len(wrong)}" if len(wrong) > 1 else ""
        raise CorpusError(
            f"{source}: {found} in utterance {row['utterance_id']!r}{others}; correct start or end"
        )


def _relative(path: str, folder: str) -> str:
    path = os.path.abspath(path)
    inside = os.path.commonpath([path, folder]) == folder if path[0] == folder[0] else False
    return Path(os.path.relpath(path, folder)).as_posix() if inside else path


def _duration(path: str) -> float | AudioError:
    try:
        return probe(path).duration
    except AudioError as error:
        return error
