"""The folder of an archive's answers: its inputs, its model and its finished files."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmer.corpora.content import STATE, file_sha256, file_states
from mmer.errors import MMERError, Parameter
from mmer.features.statistics import FeatureStatistics
from mmer.files.damaged import MADE_AGAIN, damaged_file
from mmer.files.lock import only_writer
from mmer.files.own_folder import check_own_folder
from mmer.files.writing import is_part, write_bytes
from mmer.inference.archive.shard import SPEAKERS, parquet_bytes
from mmer.inference.inputs import Utterance
from mmer.inference.transcription import Transcription
from mmer.plain_text import counted, valid
from mmer.runs.result_file import ResultFile
from mmer.runs.resume import differences, refuse_other

AUDIO = "_audio"
"""Folder for recordings that are not files yet, those of hf:."""
_MANIFEST, _INPUTS = "_manifest.json", "_inputs.parquet"
_RECORDINGS = "_recordings.parquet"
_SHOWN = 5  # most replaced recordings that an error lists
_INPUT_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("utterance_id", "audio", "transcript", "speaker", "channel")),
        *((name, pa.float64()) for name in ("start", "end")),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Manifest(ResultFile):
    """Content of `_manifest.json`: the request, which a later call must repeat to resume the folder.

    Attributes:
        source: as given to `score`.
        rows: number of utterances.
        inputs_sha256: SHA-256 of the utterances.
        model, model_sha256: path and hash of the model.
        transcription, shard_rows: see `score`.
        recognizer_sha256: see `Transcription`.
    """

    source: str
    rows: int
    inputs_sha256: str
    model: str
    model_sha256: str
    transcription: str
    shard_rows: int
    recognizer_sha256: str | None = None


class ScoreFolder:
    """Folder whose `part-00000.parquet`, … hold the rows in the order of the inputs.

    All other names begin with `_` or `.`, which readers of Parquet folders ignore. Files are written atomically: under
    another name first, then renamed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for writing, and remove the unfinished file of a killed process.

        Raises:
            MMERError: another process writes to the folder, it cannot be written to, or it holds something else.
        """
        with only_writer(self.folder, "score"):
            before = (_INPUTS, _RECORDINGS, AUDIO)
            check_own_folder(self.folder, "a folder of scores", _MANIFEST, before=before)
            for unfinished in filter(is_part, self.folder.iterdir()):
                unfinished.unlink()
            yield

    def inputs_of(self, source: str) -> list[Utterance] | None:
        """Read the inputs of an earlier call of this name; None if there was none."""
        manifest = self._manifest()
        if manifest is None or manifest.source != source:
            return None
        with damaged_file(self.folder / _INPUTS, "use another folder"):
            rows = pq.read_table(self.folder / _INPUTS).to_pylist()
        return [Utterance(**row) for row in rows]

    def begin(
        self,
        source: str,
        utterances: Sequence[Utterance],
        *,
        model: str,
        model_sha256: str,
        transcription: Transcription,
        shard_rows: int,
    ) -> None:
        """Record the request, or check it against the recorded one.

        Args:
            source, model, model_sha256, transcription, shard_rows: see `Manifest`.
            utterances: the inputs.

        Raises:
            MMERError: the folder records something else, or answered recordings have been replaced since.
        """
        rows = [{name: getattr(utterance, name) for name in _INPUT_SCHEMA.names} for utterance in utterances]
        asked = hashlib.sha256("\n".join(map(json.dumps, rows)).encode()).hexdigest()
        manifest = Manifest(
            source=source,
            rows=len(rows),
            inputs_sha256=asked,
            model=model,
            model_sha256=model_sha256,
            transcription=transcription.name,
            shard_rows=shard_rows,
            recognizer_sha256=transcription.recognizer_sha256,
        )
        before = self._manifest()
        if before is None:
            told = [
                {name: valid(value) if isinstance(value, str) else value for name, value in row.items()}
                for row in rows
            ]
            self.write(_INPUTS, parquet_bytes(pa.Table.from_pylist(told, _INPUT_SCHEMA)))
            self._check_recordings(utterances)
            manifest.write(self.folder / _MANIFEST)
            return
        compared = {name: value for name, value in vars(manifest).items() if name not in ("source", "model")}
        called = {
            **dict.fromkeys(("rows", "inputs_sha256"), "the inputs"),
            "model_sha256": "the model",
            "recognizer_sha256": "the speech recognizer",
            "transcription": (Parameter("transcription"), f" ({before.transcription} before)"),
            "shard_rows": (Parameter("shard_rows"), f" ({before.shard_rows} before)"),
        }
        refuse_other(
            self.folder,
            "holds answers to something else",
            differences(vars(before), compared, called),
        )
        self._check_recordings(utterances)

    def _check_recordings(self, utterances: Sequence[Utterance]) -> None:
        """Check that answered recordings have not changed, and record their state.

        Only recordings with a changed size or date are read; in a folder of an earlier version, all answered ones.
        """
        file = self.folder / _RECORDINGS
        paths = dict.fromkeys(os.path.abspath(each.path) for each in utterances if each.path is not None)
        now = file_states(list(paths))
        before = set[Any]()
        if file.exists():
            with damaged_file(file, MADE_AGAIN):
                before = set(pq.read_table(file).to_pandas()[list(STATE)].itertuples(index=False, name=None))
        touched = {
            state[0] for state in now[list(STATE)].itertuples(index=False, name=None) if state not in before
        }
        answered: dict[str, str] = {}
        for part in self.folder.glob("part-*.parquet") if touched else ():
            with damaged_file(part, MADE_AGAIN):
                rows = pq.read_table(part, columns=["audio_path", "audio_sha256"]).to_pylist()
            for row in rows:
                if row["audio_path"] is not None:
                    answered[os.path.abspath(row["audio_path"])] = row["audio_sha256"] or ""
        replaced = [
            path
            for path in paths
            if valid(path) in touched & set(answered) and file_sha256(path) != answered[valid(path)]
        ]
        if not replaced and before and any(self.folder.glob("_speakers-*.parquet")):
            # they are read for the statistics of their speakers
            replaced = [path for path in paths if valid(path) in touched - set(answered)]
        if replaced:
            more = ", …" if len(replaced) > _SHOWN else ""
            found = (
                f"{counted(len(replaced), 'recording', 'has', 'have')} changed since "
                f"({', '.join(replaced[:_SHOWN])}{more})"
            )
            raise MMERError(
                f"{self.folder}: holds answers to earlier recordings, {found}; use another folder"
            )
        self.write(_RECORDINGS, parquet_bytes(pa.Table.from_pandas(now, preserve_index=False)))

    def has(self, name: str) -> bool:
        """Tell whether a file is complete."""
        return (self.folder / name).is_file()

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically.

        Raises:
            MMERError: the disk is full, or permission is denied.
        """
        write_bytes(self.folder / name, content)

    def speakers(self, files: Sequence[str]) -> dict[str, FeatureStatistics]:
        """Read the statistics of speakers that `ShardScorer` wrote."""
        rows = list[Any]()
        for name in files:
            with damaged_file(self.folder / name, MADE_AGAIN):
                rows += pq.read_table(self.folder / name, schema=SPEAKERS).to_pylist()
        return {
            row["speaker"]: FeatureStatistics(
                np.array(row["mean"], np.float32), np.array(row["std"], np.float32)
            )
            for row in rows
        }

    def _manifest(self) -> Manifest | None:
        file = self.folder / _MANIFEST
        return Manifest.read(file, "use another folder") if file.exists() else None
