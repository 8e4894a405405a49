"""The folder that an archive's answers are written to: what is asked, with what, and what is done."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmer.errors import MMERError
from mmer.files import is_part, write_bytes
from mmer.inference.inputs import Utterance
from mmer.inference.score_shard import SPEAKERS, parquet_bytes
from mmer.lock import LOCK, take_lock
from mmer.model.processor import FeatureStatistics
from mmer.plain_text import json_text, valid

AUDIO = "_audio"
"""Folder of recordings that are no files yet, those of hf:."""
_MANIFEST, _INPUTS = "_manifest.json", "_inputs.parquet"
_INPUT_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("utterance_id", "audio", "transcript", "speaker", "channel")),
        *((name, pa.float64()) for name in ("start", "end")),
    ]
)


class ScoreFolder:
    """`part-00000.parquet`, … hold the rows in the order of the inputs; nothing else in the folder is read with them.

    Names of everything else begin with `_` or `.`, which readers of Parquet folders leave out. A file is written under
    another name first and then renamed: it is there as a whole or not at all.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The only one that writes there; an unfinished file of one that was killed is removed.

        Raises:
            MMERError: another process writes there, it cannot be written to, or it holds something else.
        """
        mine = {_MANIFEST, _INPUTS, LOCK, AUDIO}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            others = [
                path.name for path in self.folder.iterdir() if path.name not in mine and not is_part(path)
            ]
            if others and not (self.folder / _MANIFEST).exists():
                found = f"{self.folder} is no folder of scores and not empty, it holds {others[0]}"
                raise MMERError(f"{found}; use another folder")
            lock = take_lock(self.folder, "mmer score")
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            for unfinished in filter(is_part, self.folder.iterdir()):
                unfinished.unlink()
            yield
        finally:
            lock.release()

    def inputs_of(self, source: str) -> list[Utterance] | None:
        """What was asked here before under this name; null if nothing was."""
        manifest = self._manifest()
        if manifest is None or manifest["source"] != source:
            return None
        rows = pq.read_table(self.folder / _INPUTS).to_pylist()
        return [Utterance(**row) for row in rows]

    def begin(self, source: str, utterances: Sequence[Utterance], settings: dict[str, Any]) -> None:
        """Note what is asked, and with what; or find it noted already.

        Raises:
            MMERError: something else is noted.
        """
        rows = [{name: getattr(utterance, name) for name in _INPUT_SCHEMA.names} for utterance in utterances]
        asked = hashlib.sha256("\n".join(map(json.dumps, rows)).encode()).hexdigest()
        manifest = {"source": source, "rows": len(rows), "inputs_sha256": asked, **settings}
        before = self._manifest()
        if before is None:
            told = [
                {name: valid(value) if isinstance(value, str) else value for name, value in row.items()}
                for row in rows
            ]
            self.write(_INPUTS, parquet_bytes(pa.Table.from_pylist(told, _INPUT_SCHEMA)))
            self.write(_MANIFEST, json_text(manifest, indent=2).encode())
            return
        names = {"rows": "the inputs", "inputs_sha256": "the inputs", "model_sha256": "the model"}
        different = {
            names.get(name, f"--{name.replace('_', '-')} ({before.get(name)} before)")
            for name, value in manifest.items()
            if name not in ("source", "model") and before.get(name) != value
        }
        if different:
            found = f"holds answers to something else, different in {', '.join(sorted(different))}"
            raise MMERError(f"{self.folder}: {found}; use another folder")

    def has(self, name: str) -> bool:
        """Whether a file is done."""
        return (self.folder / name).is_file()

    def write(self, name: str, content: bytes) -> None:
        """Write a file, all of it or nothing.

        Raises:
            MMERError: the disk is full, or it is not allowed.
        """
        write_bytes(self.folder / name, content)

    def speakers(self, files: Sequence[str]) -> dict[str, FeatureStatistics]:
        """Statistics of speakers that `ShardScorer` wrote."""
        tables = [pq.read_table(self.folder / name, schema=SPEAKERS) for name in files]
        rows = [row for table in tables for row in table.to_pylist()]
        return {
            row["speaker"]: FeatureStatistics(
                np.array(row["mean"], np.float32), np.array(row["std"], np.float32)
            )
            for row in rows
        }

    def _manifest(self) -> dict[str, Any] | None:
        file = self.folder / _MANIFEST
        if not file.exists():
            return None
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise MMERError(f"{file} is damaged ({error}); use another folder") from None

    def _unwritable(self, error: OSError) -> MMERError:
        return MMERError(f"{self.folder} cannot be written to ({error.strerror}); what is done is kept")
