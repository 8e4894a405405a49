"""One shard of an archive: its rows with their provenance, or the statistics of its speakers."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmer.audio.decoding.common import AudioInfo
from mmer.audio.load import load_audio, probe
from mmer.errors import AudioError, TruncatedError
from mmer.extras import installed_version
from mmer.features.statistics import FeatureStatistics
from mmer.files.regular import open_regular
from mmer.inference.inputs import Utterance
from mmer.inference.kept_sound import KeptSound
from mmer.inference.prediction import Prediction, row_schema
from mmer.inference.recognizer import EmotionRecognizer
from mmer.version import __version__

_INSPECTORS = 8  # threads that hash files and read headers, which wait for the disk
SOFTWARE = ("torch", "onnxruntime", "transformers")
PROVENANCE = pa.schema(
    [
        ("audio_sha256", pa.string()),
        ("sampling_rate", pa.int32()),
        ("channels", pa.int32()),
        ("file_duration", pa.float64()),
        ("truncated", pa.bool_()),
        ("model_sha256", pa.string()),
        *((f"{name}_version", pa.string()) for name in ("mmer", *SOFTWARE)),
    ]
)
"""Columns beside those of a prediction. The first four are of the whole file, null where there is none or its header
cannot be read; `truncated` is null where the sound was not decoded, a version where the package is not installed."""
SPEAKERS = pa.schema(
    [("speaker", pa.string()), ("mean", pa.list_(pa.float32())), ("std", pa.list_(pa.float32()))]
)


@dataclass(frozen=True, slots=True)
class Work:
    """What has been done.

    Attributes:
        utterances: number of utterances.
        sound: seconds of it that were answered.
        frames, padding: frames of sound that the network read, and how many of them pad shorter clips of a batch;
            samples for a network that reads waveforms.
    """

    utterances: int = 0
    sound: float = 0.0
    frames: int = 0
    padding: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(one + more for one, more in zip(astuple(self), astuple(other), strict=True)))


Report = Callable[[Work], None]
"""Called with the work that was finished since the last call."""


@dataclass(frozen=True, slots=True)
class Job:
    """Model and settings for all shards of an archive; see `EmotionRecognizer`.

    Attributes:
        model_sha256: see `model_hash`.
    """

    model: Path
    model_sha256: str
    transcription: str
    batch_size: int
    device: str | None


@dataclass(frozen=True, slots=True)
class Shard:
    """Part of the work, which becomes one file.

    Attributes:
        file: name of the file.
        utterances: utterances in the order of the rows; for statistics, all of each speaker.
        speakers: statistics of the speakers that have some; None if the shard computes them.
    """

    file: str
    utterances: Sequence[Utterance]
    speakers: Mapping[str, FeatureStatistics] | None


class ShardScorer:
    """Worker that makes the files of shards, with a model that it loads once.

    Args:
        job: the model and its settings.
        kept: gets the sound of utterances whose statistics are computed, for a worker that answers them as well.

    Raises:
        MMERError: `EmotionRecognizer.from_pretrained` raises it.
    """

    def __init__(self, job: Job, kept: KeptSound | None = None) -> None:
        self.job, self._kept = job, kept
        self.recognizer = EmotionRecognizer.from_pretrained(job.model, job.device, job.transcription)
        self._constant = {
            "model_sha256": job.model_sha256,
            "mmer_version": __version__,
            **{f"{name}_version": installed_version(name) for name in SOFTWARE},
        }

    def __call__(self, shard: Shard, report: Report) -> bytes:
        """Answer a shard and return the bytes of its Parquet file."""
        if shard.speakers is None:
            return parquet_bytes(self._statistics(shard.utterances, report))
        return parquet_bytes(self._rows(shard.utterances, shard.speakers, report))

    def _statistics(self, utterances: Sequence[Utterance], report: Report) -> pa.Table:
        found = self.recognizer.speaker_statistics(utterances, self._kept)
        report(Work(len(utterances)))
        rows = [{"speaker": name, "mean": of.mean, "std": of.std} for name, of in found.items()]
        return pa.Table.from_pylist(rows, SPEAKERS)

    def _rows(
        self, utterances: Sequence[Utterance], speakers: Mapping[str, FeatureStatistics], report: Report
    ) -> pa.Table:
        recognizer, files = self.recognizer, _inspected(utterances)
        frames, padding = recognizer.frames, recognizer.padding
        order = sorted(
            range(len(utterances)), key=lambda i: _length(utterances[i], files.get(utterances[i].path))
        )
        rows: list[dict[str, object]] = [{}] * len(utterances)
        counted = 0

        def count(done: int) -> None:
            nonlocal counted
            report(Work(done - counted))
            counted = done

        answers = recognizer.predict(
            [utterances[i] for i in order],
            batch_size=self.job.batch_size,
            progress=count,
            speakers=speakers,
            kept=self._kept,
        )
        for i, prediction in zip(order, answers, strict=True):
            file = files.get(utterances[i].path)
            rows[i] = {
                **prediction.to_row(recognizer.labels, recognizer.dimensions),
                **(file.columns if file else {}),
                "truncated": self._is_truncated(utterances[i], prediction),
                **self._constant,
            }
            report(Work(sound=prediction.duration or 0.0))
        report(Work(frames=recognizer.frames - frames, padding=recognizer.padding - padding))
        columns = row_schema(recognizer.labels, recognizer.dimensions)
        schema = pa.unify_schemas([columns, PROVENANCE])
        return pa.Table.from_pylist(rows, schema)

    def _is_truncated(self, utterance: Utterance, prediction: Prediction) -> bool | None:
        if prediction.error is None or utterance.path is None:
            return None if prediction.duration is None else False
        longest = self.recognizer.processor.max_duration
        try:
            load_audio(utterance.path, start=utterance.start, end=utterance.end, max_duration=longest)
        except TruncatedError:
            return True
        except (OSError, AudioError):
            return None
        return False


@dataclass(frozen=True, slots=True)
class _File:
    """Facts about a file that need no decoding; None where unknown."""

    sha256: str | None
    info: AudioInfo | None

    @classmethod
    def at(cls, path: str) -> "_File":
        sha256 = info = None
        try:
            with open_regular(path) as content:
                sha256 = hashlib.file_digest(content, "sha256").hexdigest()
            info = probe(path)
        except (OSError, AudioError):
            pass  # the row's error says what is wrong
        return cls(sha256, info)

    @property
    def columns(self) -> dict[str, object]:
        info = self.info
        return {
            "audio_sha256": self.sha256,
            "sampling_rate": info and info.sampling_rate,
            "channels": info and info.channels,
            "file_duration": info and info.duration,
        }


def _inspected(utterances: Sequence[Utterance]) -> dict[str | None, _File]:
    paths = dict.fromkeys(utterance.path for utterance in utterances if utterance.path is not None)
    with ThreadPoolExecutor(_INSPECTORS) as threads:
        return dict(zip(paths, threads.map(_File.at, paths), strict=True))


def _length(utterance: Utterance, file: _File | None) -> tuple[float, int]:
    """Sort by seconds of sound and characters, longest first, so that memory runs out early or never."""
    end = utterance.end if utterance.end is not None else (file.info.duration if file and file.info else 0.0)
    return (utterance.start or 0.0) - end, -len(utterance.transcript or "")


def parquet_bytes(table: pa.Table) -> bytes:
    """Write a table as the bytes of a Parquet file."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    return buffer.getvalue().to_pybytes()
