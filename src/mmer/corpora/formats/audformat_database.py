"""Databases in audformat (audeering): a header `db.yaml`, tables beside it, and the files they are about."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from mmer.corpora.audio_folders import split_of
from mmer.corpora.corpus import Corpus, listing
from mmer.corpora.labels import nearest
from mmer.corpora.tables import COLUMNS, NAMES, flat, is_null
from mmer.errors import CorpusError, reading
from mmer.extras import import_extra

# The YAML parser of audformat, but in its safe form, which creates no Python objects.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SPLITS = {"train": "train", "validation": "dev", "test": "test"}


def read_audformat(folder: Path, table: str | None = None) -> Corpus:
    """Read an audformat database.

    Utterances are the files, or segments, of the tables with an emotion, or of all tables where none has. Further
    columns come from all tables and from fields of labels (such as the gender of a speaker), splits from those of
    tables. Without a column `utterance_id`, an id is the file, and for a segment its seconds.

    Args:
        folder: holds `db.yaml` and the tables.
        table: the one whose emotions are taken, for a database that gives an utterance several.

    Returns:
        The corpus; its notes tell what was left out.

    Raises:
        MissingExtraError: the package audformat is not installed.
        CorpusError: there is no database, the table is unknown, tables are pickled, or an utterance has several
            emotions.
    """
    audformat = import_extra("audformat", f"{folder}: reading audformat", "exchange")
    if not (folder / "db.yaml").is_file():
        raise CorpusError(f"{folder}: no db.yaml; give the folder of an audformat database")
    with reading(folder, "audformat", CorpusError):
        _check_runs_no_code(folder)
        db = audformat.Database.load(str(folder), load_data=True)
    if table is not None and table not in db.tables:
        known = ", ".join(db.tables)
        raise CorpusError(f"{folder}: no table {table!r}{nearest(table, db.tables)}; it has {known}")
    return _Reader(audformat, db, folder).corpus(table)


def _check_runs_no_code(folder: Path) -> None:
    """Check that the database cannot run code: no tags for Python objects in the header, no pickled tables.

    Raises:
        CorpusError: it has one of these, or a table whose name leads to another folder.
        yaml.YAMLError: the header is no YAML without tags.
    """
    with open(folder / "db.yaml", encoding="utf-8") as file:
        header = yaml.load(file, Loader=_Loader)
    tables = [name for kind in ("tables", "misc_tables") for name in (header.get(kind) or ())]
    if outside := [name for name in tables if re.search(r"[/\\]", str(name))]:
        raise CorpusError(f"{folder / 'db.yaml'}: table {outside[0]!r} lies in another folder")
    names = [name for name in sorted(os.listdir(folder)) if re.fullmatch(r"(?is)db\..*\.pkl", name)]
    if names:
        advice = "remove it where there is a .csv or .parquet of it, or save it as such"
        raise CorpusError(f"{folder / names[0]}: is a pickled table, which may run any code; {advice}")


def write_audformat(corpus: Corpus, folder: Path) -> list[str]:
    """Write an audformat database: a table for each split, and a scheme for each column.

    Returns:
        Notes on what could not be written.

    Raises:
        MissingExtraError: the package audformat is not installed.
        CorpusError: two utterances are the same part of a recording, or the folder cannot be written to.
    """
    audformat = import_extra("audformat", f"{folder}: writing audformat", "exchange")
    whole = corpus.table["audio_path"].notna()
    left_out = corpus.table["utterance_id"][~whole].tolist()
    table = corpus.table[whole].dropna(axis="columns", how="all")
    index = _index(audformat, table, folder)
    if twice := table["utterance_id"][index.duplicated(keep=False)].tolist():
        found = f"{twice[0]!r} and {twice[1]!r} are the same part of a recording"
        raise CorpusError(f"{corpus.source}: {found}, which audformat cannot tell apart")
    names = sorted(set(table.get("corpus", pd.Series(dtype=object)).dropna()))
    languages = sorted(set(table.get("language", pd.Series(dtype=object)).dropna()))
    db = audformat.Database(
        name=folder.resolve().name,
        source=", ".join(names) or folder.resolve().name,
        usage=audformat.define.Usage.OTHER,
        languages=[language for language in languages if _iso639_3(audformat, language)],
    )
    columns = {}
    for column in table.columns.drop(["audio_path", "start", "end", "split"], errors="ignore"):
        values, kind = _as_audformat(table[column], column)
        name = "transcription" if column == "transcript" else column
        labels = sorted(values.dropna().unique()) if column == "emotion" else None
        db.schemes[name] = audformat.Scheme(kind, labels=labels)
        columns[name] = values
    splits = table["split"] if "split" in table else pd.Series(None, index=table.index, dtype=object)
    for split, name in {None: "utterances", **_SPLITS}.items():
        rows = (splits.isna() if split is None else splits == split).to_numpy()
        if not rows.any():
            continue
        if split is not None:
            db.splits[name] = audformat.Split(name)
        db[name] = audformat.Table(index[rows], split_id=None if split is None else name)
        for column, values in columns.items():
            db[name][column] = audformat.Column(scheme_id=column)
            db[name][column].set(values[rows].tolist())
    try:
        db.save(str(folder))
    except OSError as error:
        raise CorpusError(f"{folder}: cannot be written ({error.strerror})") from None
    return [listing("utterances without a recording are left out", left_out)] if left_out else []


class _Reader:
    """Reader of a loaded database into a table."""

    def __init__(self, audformat: Any, db: Any, folder: Path) -> None:
        self._audformat, self._db, self._folder = audformat, db, folder
        self._notes: list[str] = []

    def corpus(self, table: str | None) -> Corpus:
        sources = self._sources()
        index, emotions = self._emotions(sources.pop("emotion", None), table)
        columns: dict[str, Sequence[Any] | pd.Series] = {} if emotions is None else {"emotion": emotions}
        for column, name in sources.items():
            values = self._values(name, index)
            if values is not None:
                columns[column] = values
        files = index.get_level_values("file")
        columns["audio_path"] = [os.path.join(self._folder, file) for file in files]
        columns["split"] = self._splits(index)
        segmented = self._audformat.is_segmented_index(index)
        spans = [_span(start, end) for _, start, end in index] if segmented else [(None, None)] * len(index)
        columns["start"], columns["end"] = [span[0] for span in spans], [span[1] for span in spans]
        if "utterance_id" not in columns:
            columns["utterance_id"] = [_name(file, *span) for file, span in zip(files, spans, strict=True)]
        if "language" not in columns and len(self._db.languages) == 1:
            columns["language"] = [self._db.languages[0]] * len(index)
        if "language" in columns:
            columns["language"] = [_iso639_1(code) for code in columns["language"]]
        columns.setdefault("corpus", [self._db.name] * len(index))
        texts = {name: any(isinstance(value, str) for value in values) for name, values in columns.items()}
        series = {
            name: pd.Series(values, dtype=object if texts[name] else None) for name, values in columns.items()
        }
        return Corpus(pd.DataFrame(series), source=str(self._folder), notes=self._notes)

    def _sources(self) -> dict[str, str]:
        """Map each column of the corpus to its source: a column of a table, or a field of labels."""
        fields = [name for table in self._db.tables.values() for name in table.columns]
        for scheme in self._db.schemes.values():
            fields += _label_fields(self._db, scheme)
        fields = list(dict.fromkeys(fields))
        sources = {}
        for column in COLUMNS:
            found = next((name for name in NAMES.get(column, (column,)) if name in fields), None)
            if found:
                sources[column] = found
        rest = {name: name for name in fields if name not in sources.values() and name not in COLUMNS}
        scheme = self._db.schemes.get(sources.get("transcript"))
        if scheme is not None and (languages := _label_fields(self._db, scheme)):
            spoken = [name for name in languages if _iso639_3(self._audformat, name) in self._db.languages]
            rest["transcript_code"] = sources.pop("transcript")
            if spoken:
                sources["transcript"] = rest.pop(spoken[0])
        return sources | rest

    def _emotions(self, name: str | None, table: str | None) -> tuple[pd.Index, list[Any] | None]:
        tables = self._db.tables if table is None else [table]
        if name is None:
            index = self._audformat.utils.union([self._db[other].index for other in tables])
            return index, None
        try:
            frame = self._db.get(name, tables=list(tables))
        except (ValueError, TypeError) as error:
            several = f"gives some utterances several emotions ({_first_line(error).rstrip(':')})"
            tables = f"name the table to take: audformat:{self._folder}:TABLE, of {', '.join(tables)}"
            raise CorpusError(f"{self._folder}: {several}; {tables}") from None
        if table is not None and frame.empty:
            raise CorpusError(f"{self._folder}: table {table} has no emotion; name another table, or none")
        unlabeled = sorted(set(self._db.files) - set(frame.index.get_level_values("file")))
        if unlabeled:
            self._notes.append(listing("files have no emotion and are left out", unlabeled))
        return frame.index, _plain(frame.iloc[:, 0])

    def _values(self, name: str, index: pd.Index) -> list[Any] | None:
        try:
            values = self._db.get(name).iloc[:, 0]
        except (ValueError, TypeError):
            self._notes.append(f"{name} has several values for an utterance and is left out")
            return None
        is_segmented = self._audformat.is_segmented_index
        if is_segmented(values.index) and not is_segmented(index):
            self._notes.append(f"{name} is about parts of files and is left out")
            return None
        if is_segmented(index) and not is_segmented(values.index):
            index = index.get_level_values("file")
        found = _plain(values.astype(object).reindex(index))
        return None if all(value is None for value in found) else found

    def _splits(self, index: pd.Index) -> pd.Series:
        splits = pd.Series(None, index=range(len(index)), dtype=object)
        for table in self._db.tables.values():
            split = split_of(self._db.splits[table.split_id].type) if table.split_id else None
            if split and table.is_segmented and self._audformat.is_segmented_index(index):
                splits[index.isin(table.index)] = split
            elif split:
                splits[index.get_level_values("file").isin(table.files)] = split
        return splits


def _label_fields(db: Any, scheme: Any) -> list[str]:
    """Return the fields of a scheme's labels, such as gender and age of speakers."""
    if scheme.uses_table:
        return list(db[scheme.labels].columns) if scheme.labels in db.misc_tables else []
    if not isinstance(scheme.labels, dict):
        return []
    return list(
        dict.fromkeys(name for about in scheme.labels.values() if isinstance(about, dict) for name in about)
    )


def _plain(values: Iterable[Any]) -> list[Any]:
    """Convert to Python values; time spans become seconds, dates text."""

    def plain(value: Any) -> Any:
        if is_null(value):
            return None
        if isinstance(value, pd.Timedelta):
            return _seconds(value)
        return str(value) if isinstance(value, pd.Timestamp) else value

    return [plain(value) for value in values]


def _span(start: pd.Timedelta, end: pd.Timedelta) -> tuple[float | None, float | None]:
    first = None if is_null(start) else _seconds(start)
    last = None if is_null(end) else _seconds(end)
    return (first or None, None) if last is None else (first, last)


def _seconds(span: pd.Timedelta) -> float:
    return round(span.total_seconds(), 9)  # whole nanoseconds are what is stored


def _name(file: str, start: float | None, end: float | None) -> str:
    if start is None and end is None:
        return file
    return f"{file}:{start or 0:.3f}-{'' if end is None else f'{end:.3f}'}"


def _index(audformat: Any, table: pd.DataFrame, folder: Path) -> pd.Index:
    root = os.path.abspath(folder)
    paths = [os.path.abspath(path) for path in table["audio_path"]]
    files = [
        Path(os.path.relpath(path, root)).as_posix() if path.startswith(root + os.sep) else path
        for path in paths
    ]
    if "start" not in table and "end" not in table:
        return audformat.filewise_index(files)
    spans = [
        pd.to_timedelta(table.get(name, pd.Series(float("nan"), index=table.index)), unit="s")
        for name in ("start", "end")
    ]
    return audformat.segmented_index(files, spans[0].fillna(pd.Timedelta(0)), spans[1])


def _as_audformat(values: pd.Series, column: str) -> tuple[pd.Series, str]:
    """Return the values of a column and their type."""
    if column == "duration":
        return pd.to_timedelta(values, unit="s"), "time"
    for kind, is_kind in (
        ("bool", pd.api.types.is_bool_dtype),
        ("int", pd.api.types.is_integer_dtype),
        ("float", pd.api.types.is_float_dtype),
    ):
        if is_kind(values.dtype):
            return values, kind
    return values.map(lambda value: None if is_null(value) else str(flat(value))).astype(object), "str"


def _iso639_3(audformat: Any, language: str) -> str | None:
    try:
        return audformat.utils.map_language(language)
    except ValueError:
        return None


def _iso639_1(language: Any) -> Any:
    """Return the two-letter code of a language, where there is one."""
    from iso639 import Lang
    from iso639.exceptions import InvalidLanguageValue

    try:
        return Lang(language).pt1 or language
    except (InvalidLanguageValue, TypeError):
        return language


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
