"""Files of embeddings: written part by part, and read for the utterances of a corpus."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from mmer.corpora.content import files_sha256
from mmer.corpora.corpus import Corpus
from mmer.corpora.labels import nearest
from mmer.corpora.tables import read_table
from mmer.errors import CorpusError, Function, MMERError, Parameter, reading
from mmer.files.damaged import MADE_AGAIN, damaged_file
from mmer.files.writing import check_output_file, write_csv, writing
from mmer.inference.backends.network import Array
from mmer.inference.embedding.sources import FUNCTIONALS, FUSED, Level
from mmer.plain_text import counted

PARQUET, NPY, IDS = ".parquet", ".npy", ".csv"
_SECONDS = ("start", "end", "duration")
ABOUT = (
    *("utterance_id", "audio_path", "start", "end", "speaker", "emotion", "transcript", "transcript_source"),
    *("duration", "audio_sha256", "trained_on", "source_sha256", "warnings", "error"),
)
"""Columns beside the embeddings, of which `.npy` keeps a table of its own. `trained_on` is the split, train or
validation, in which the model met the utterance; null if it did not, or if it keeps no record. `source_sha256` is that
of the model and the settings."""
_SHOWN = 3  # ids that an error names


@dataclass(frozen=True)
class EmbeddingFile:
    """File of embeddings that is to be written.

    Attributes:
        path: its name ends in `.parquet` or `.npy`.
        level: see `embed`.
    """

    path: Path
    level: Level

    @property
    def ids(self) -> Path:
        """Table beside a `.npy` file that says which utterance each of its rows is."""
        return self.path.with_suffix(IDS)

    def check(self, inputs: Iterable[str | Path]) -> None:
        """Check in advance whether it can be written.

        Raises:
            MMERError: it cannot, it is one of the inputs, has another suffix, or cannot hold what is asked for.
        """
        suffix = self.path.suffix.lower()
        if suffix not in (PARQUET, NPY):
            raise MMERError(
                f"{self.path}: embeddings are written to a {PARQUET} or {NPY} file; name one of these"
            )
        if suffix == NPY and self.level == "frame":
            raise MMERError(
                f"{self.path}: one matrix cannot hold frames, of which utterances have different numbers; name a "
                f"{PARQUET} file, or give ",
                Parameter("level", "utterance"),
            )
        inputs = list(inputs)
        for path in (self.path, self.ids) if suffix == NPY else (self.path,):
            check_output_file(path, inputs)

    def check_replaced(self, source_sha256: str, model: str) -> None:
        """Refuse to replace a file that is there, unless the same model gave it with the same settings.

        Args:
            source_sha256: of the model and the settings.
            model: what messages call the model.

        Raises:
            MMERError: it holds something else.
        """
        npy = self.path.suffix.lower() == NPY
        there = [path for path in ((self.path, self.ids) if npy else (self.path,)) if path.exists()]
        if not there:
            return
        column, found = "source_sha256", set[object]()
        with suppress(CorpusError, pa.ArrowException, OSError, KeyError):  # of another kind, or damaged
            if not npy:
                found = set(pq.read_table(self.path, columns=[column])[column].to_pylist())
            else:
                found = set(read_table(self.ids)[column])
        if found != {source_sha256}:
            raise MMERError(
                f"{there[0]} is there, and is not what {model} gave with these settings; name another file, or remove "
                "this one"
            )

    def written_columns(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Choose the embeddings that the file holds: all, or the first one in a `.npy` file."""
        return tuple(columns) if self.path.suffix.lower() == PARQUET else tuple(columns[:1])

    def write(self, parts: Sequence[Path], schema: pa.Schema) -> None:
        """Put parts together, reading one at a time.

        Args:
            parts: Parquet files of the schema, in the order of the rows.
            schema: of `row_schema`, with one column of embeddings for a `.npy` file.

        Raises:
            CheckpointError: a part is damaged.
            MMERError: the file cannot be written.
        """
        if self.path.suffix.lower() == NPY:
            self._write_matrix(parts, schema.names[len(ABOUT)])
            return
        with writing(self.path) as target, pq.ParquetWriter(target, schema) as writer:
            for part in parts:
                writer.write_table(read_part(part, schema=schema))

    def _write_matrix(self, parts: Sequence[Path], column: str) -> None:
        about = pd.concat([read_part(part, columns=list(ABOUT)).to_pandas() for part in parts])
        sizes = (len(row) for part in parts for row in _rows(part, column) if row is not None)
        shape = (len(about), next(sizes))
        with writing(self.path) as target:
            matrix = np.lib.format.open_memmap(target, mode="w+", dtype=np.float32, shape=shape)
            place = 0
            for part in parts:
                for row in _rows(part, column):
                    matrix[place] = np.nan if row is None else row
                    place += 1
            matrix.flush()
            write_csv(about, self.ids)


def _rows(part: Path, column: str) -> Iterable[Array | None]:
    return read_part(part, columns=[column])[column].to_pandas()


def read_part(part: Path, **asked: Any) -> pa.Table:
    """Read a part of an unfinished file, as `pyarrow.parquet.read_table` does.

    Raises:
        CheckpointError: it is damaged.
    """
    with damaged_file(part, MADE_AGAIN):
        return pq.read_table(part, **asked)


def row_schema(columns: Sequence[str], level: Level) -> pa.Schema:
    """Return the schema of a table of embeddings: a list of numbers for each utterance, or a list of frames."""
    kind = pa.list_(pa.float32())
    return pa.schema(
        [
            *((name, pa.float64() if name in _SECONDS else pa.string()) for name in ABOUT),
            *((name, kind if level == "utterance" else pa.list_(kind)) for name in columns),
        ]
    )


def as_lists(rows: Sequence[Array | None], level: Level) -> pa.Array:
    """Convert rows, (size,) or (frames, size) each, to an Arrow array of `row_schema`."""
    lists = rows if level == "utterance" else [None if row is None else list(row) for row in rows]
    return pa.array(lists, row_schema(["embedding"], level).field("embedding").type)


def read_embeddings(path: Path, corpus: Corpus, column: str | None = None) -> NDArray[np.float32]:
    """Read the embeddings of a corpus's utterances.

    Args:
        path: a file of `embed`; or any .parquet or .jsonl table of `utterance_id` and lists of as many numbers, or .npy
            matrix beside a .csv table of the same name that has `utterance_id`.
        corpus: the utterances. A file of `embed` must be of the same recordings and words.
        column: of the table; default: `fused`, or the only column of lists.

    Returns:
        (utterances, size), in the order of the corpus; NaN for a functional that is not defined.

    Raises:
        CorpusError: the file cannot be read, lacks an utterance, was made of other recordings or words, or by a model
            that was trained on these utterances, or has a number that is not finite.
    """
    read = _read_matrix if path.suffix.lower() == NPY else _read_lists
    table, column, rows = read(path, column)
    about = Corpus(table.assign(audio_path=table.get("audio_path")), source=str(path)).table
    given = {
        name: place
        for place, name in enumerate(about["utterance_id"])
        if rows[place] is not None and np.size(rows[place])
    }
    _refuse(path, corpus, "has no embedding of", ~corpus.table["utterance_id"].isin(given))
    found = [given[name] for name in corpus.table["utterance_id"]]
    chosen = [_numbers(rows[place]) for place in found]
    if any(isinstance(rows[place], list | np.ndarray) and np.ndim(rows[place][0]) for place in found):
        raise CorpusError(f"{path}: {column} holds frames; give a file with one embedding of each utterance")
    _refuse(path, corpus, "has something else than a list of numbers for", [not row.size for row in chosen])
    sizes = [len(row) for row in chosen]
    _refuse(
        path, corpus, f"has not {sizes[0]} numbers, as for the first, for", [n != sizes[0] for n in sizes]
    )
    numbers = np.stack(chosen)
    missing = np.isnan(numbers).all(axis=1) if column == FUNCTIONALS else np.isnan(numbers).any(axis=1)
    _refuse(path, corpus, "has numbers that are not finite for", missing | np.isinf(numbers).any(axis=1))
    about = about.iloc[found].reset_index(drop=True)
    if "trained_on" in about and (met := int(about["trained_on"].notna().sum())):
        raise CorpusError(
            f"{path}: the model that made it was trained on {counted(met, 'utterance', of=len(corpus))} of "
            f"{corpus.source}, so "
            "that they are no test of it; give embeddings of an encoder, or of a model of other speakers"
        )
    if column != "text" and "audio_sha256" in about:
        _refuse(path, corpus, "was made of other recordings than those of", _other_sound(about, corpus.table))
    if column != "speech" and "transcript_source" in about:
        _refuse(path, corpus, "was made of other words than those of", _other_words(about, corpus.table))
    return numbers


def _numbers(row: Any) -> NDArray[np.float32]:
    """Convert a list of numbers, in which None is NaN; empty for anything else."""
    try:
        values = np.asarray(row)
        if values.ndim == 1 and values.dtype.kind in "fiuO":
            return values.astype(np.float32)
    except (TypeError, ValueError):
        pass
    return np.empty(0, np.float32)


def _refuse(path: Path, corpus: Corpus, what: str, wrong: ArrayLike) -> None:
    """Refuse a file that is wrong for some utterances of a corpus.

    Raises:
        CorpusError: it is.
    """
    names = corpus.table["utterance_id"][np.asarray(wrong, bool)].tolist()
    if names:
        more = ", …" if len(names) > _SHOWN else ""
        which = f"{counted(len(names), 'utterance', of=len(corpus))} ({', '.join(names[:_SHOWN])}{more})"
        raise CorpusError(
            f"{path}: {what} {which} of {corpus.source}; write the embeddings of this corpus with ",
            Function("embed"),
        )


def _other_sound(about: pd.DataFrame, table: pd.DataFrame) -> list[bool]:
    """Find the utterances whose recording, or the part of it, is not the one that was heard."""
    digests = files_sha256(table["audio_path"].dropna())
    heard = zip(about["audio_sha256"], about["start"].fillna(0), about["end"].fillna(np.inf), strict=True)
    now = zip(
        table["audio_path"].map(digests), table["start"].fillna(0), table["end"].fillna(np.inf), strict=True
    )
    return [isinstance(before[0], str) and before != after for before, after in zip(heard, now, strict=True)]


def _other_words(about: pd.DataFrame, table: pd.DataFrame) -> list[bool]:
    """Find the utterances whose transcript is not the one that was read."""
    rows = zip(about["transcript_source"], about["transcript"], table["transcript"], strict=True)
    return [source == "given" and before != now for source, before, now in rows]


def _read_lists(path: Path, column: str | None) -> tuple[pd.DataFrame, str, list[Any]]:
    table = read_table(path)
    lists = [
        str(name)
        for name in table
        if table[name].map(lambda value: isinstance(value, list | np.ndarray)).any()
    ]
    chosen = column or (FUSED if FUSED in lists or len(lists) != 1 else lists[0])
    if chosen not in lists:
        there = f"it has {', '.join(lists)}" if lists else "no column holds lists of numbers"
        raise CorpusError(f"{path}: no column of embeddings {chosen!r}{nearest(chosen, lists)}; {there}")
    return table.drop(columns=lists), chosen, table[chosen].tolist()


def _read_matrix(path: Path, column: str | None) -> tuple[pd.DataFrame, None, NDArray[Any]]:
    if column is not None:
        raise CorpusError(f"{path}: one matrix has no columns of embeddings; leave out {column!r}")
    with reading(path, "a matrix of NumPy", CorpusError):
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
            raise ValueError("it holds something else than rows of numbers")
    ids = path.with_suffix(IDS)
    if not ids.is_file():
        raise CorpusError(f"{ids}: no such file; it names the utterance of each row of {path}")
    table = read_table(ids)
    if len(table) != len(matrix):
        raise CorpusError(
            f"{ids}: names {counted(len(table), 'utterance')}, and {path} has {counted(len(matrix), 'row')}"
        )
    return table, None, matrix
