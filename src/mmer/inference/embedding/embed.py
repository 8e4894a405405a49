"""Embed the utterances of a corpus into one file; the same call continues an interrupted one.

What is done is in a folder beside the file, in parts of some hundred utterances. The name of a part is a hash of all
that its rows depend on: the files of the model, the settings, the utterances, and the size and date of the recordings.
A part that is there is therefore the one that is wanted, and a call with other settings writes others.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa

from mmer.corpora.content import file_states, files_sha256
from mmer.corpora.corpus import Corpus
from mmer.display.progress import speed
from mmer.display.terminal import messages
from mmer.errors import CorpusError, MMERError, Parameter
from mmer.features.statistics import FeatureStatistics
from mmer.files.lock import only_writer
from mmer.files.writing import write_bytes
from mmer.inference.archive.shard import parquet_bytes
from mmer.inference.backends.model_folder import model_hash
from mmer.inference.embedding.files import ABOUT, EmbeddingFile, as_lists, read_part, row_schema
from mmer.inference.embedding.sources import (
    FUSED,
    Layers,
    Level,
    Pool,
    Source,
    is_functionals,
    open_functionals,
    open_source,
    source_folder,
)
from mmer.inference.inputs import Utterance, corpus_utterances
from mmer.inference.kept_sound import KeptSound
from mmer.inference.reading import Clip
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.trust.out_of_distribution import count_unlike
from mmer.plain_text import counted, valid
from mmer.version import __version__

PARTS = ".parts"
"""What the name of the folder of parts ends in."""
ROWS: dict[Level, int] = {"utterance": 512, "frame": 32}
"""Utterances of a part, the most that are in memory, and that are embedded again after an interruption."""


@dataclass(frozen=True)
class Embedded:
    """A file of embeddings.

    Attributes:
        path: the file.
        columns: embeddings that it holds, of `fused`, `speech` and `text`.
        rows: number of utterances.
        errors: reason for each utterance without an embedding.
        unlike: number of utterances whose recording is unlike those of the training.
    """

    path: Path
    columns: tuple[str, ...]
    rows: int
    errors: list[str]
    unlike: int

    def __str__(self) -> str:
        failed = f", {len(self.errors)} of them without one (column error)" if self.errors else ""
        utterances = counted(self.rows, "utterance")
        return f"embeddings ({', '.join(self.columns)}) of {utterances} in {self.path}{failed}"


def embed(
    model: str | os.PathLike[str],
    corpus: Corpus,
    out: str | os.PathLike[str],
    *,
    level: Level = "utterance",
    layers: Layers = "last",
    pooling: Pool | None = None,
    transcription: str = "given",
    batch_size: int = 16,
    device: str | None = None,
) -> Embedded:
    """Write the embeddings of a corpus's utterances, with their ids and labels.

    An embedding does not depend on the other utterances of the corpus, except for a model that standardizes features
    per speaker. The same call resumes an interrupted one.

    Args:
        model: a model of mmer, which gives `fused` (size,), from which its answer is computed, and its hidden states
            `speech` and `text`; or an encoder of speech or text, or a published model, which gives the hidden states of
            its encoder as `speech` or `text`. Names and folders as for `EmotionRecognizer`. A model whose encoder
            cannot be looked into, such as an exported one, gives `fused` alone. `egemaps` and `functionals` give
            `functionals`: those of openSMILE's eGeMAPSv02, and those that the `compact` encoder reads.
        corpus: the utterances.
        out: the file: `.parquet` with a row for each utterance, or `.npy` with `fused`, or the only embedding, as
            (utterances, size) beside a `.csv` file of the same name with the other columns.
        level: `utterance` pools hidden states to (size,); `frame` writes all of them, (frames, size) or (tokens, size).
        layers: of an encoder, as `model.speech.layers` of a recipe: `last`, or numbers of hidden states, of which the
            mean is taken.
        pooling: `mean` or `max` over frames or tokens; None for `mean`.
        transcription, batch_size, device: as for `EmotionRecognizer`.

    Returns:
        What the file holds.

    Raises:
        CheckpointError, EncoderError: there is no such model, or it is damaged or of a kind that is not supported.
        CorpusError: the corpus has no utterances.
        MissingExtraError: openSMILE is not installed, for `egemaps`.
        MMERError: the model cannot give what is asked for, the file cannot be written, is there and holds something
            else than the same model gave with the same settings, another process writes it, or no utterance can be
            embedded.
        KeyboardInterrupt: the user interrupted; its message says what is kept.
    """
    for name, value, known in (("level", level, Level), ("pooling", pooling or "mean", Pool)):
        if value not in get_args(known):
            raise MMERError(f"{name} is {value!r}; it must be {' or '.join(get_args(known))}")
    if level == "frame" and pooling:
        raise MMERError("frames are given as they are, before pooling; leave out ", Parameter("pooling"))
    if not len(corpus):
        raise CorpusError(f"{corpus.source}: holds no utterances")
    file = EmbeddingFile(Path(out), level)
    file.check([path for path in (corpus.source, os.fspath(model)) if Path(path).exists()])
    folder = None if is_functionals(model) else source_folder(model)
    with only_writer(file.path.with_name(f"{file.path.name}{PARTS}").resolve(), "embed"):
        asked: Any = {"level": level, "layers": layers, "pooling": pooling, "transcription": transcription}
        if folder is None:
            source = open_functionals(os.fspath(model), **asked)
        else:
            source = open_source(folder, **asked, device=device)
        columns = file.written_columns(source.columns)
        numbers = layers if isinstance(layers, str) else ",".join(map(str, layers))
        request = [source.identity, level, numbers, pooling or "mean", transcription, *columns]
        if (recognizer := source.recognizer.transcription.recognizer_sha256) is not None:
            request.append(recognizer)
        source_sha256 = hashlib.sha256(repr(request).encode()).hexdigest()
        file.check_replaced(source_sha256, os.fspath(model))
        return _Job(source, file, corpus, batch_size, source_sha256).run()


def embed_for_last_layer(recognizer: EmotionRecognizer, folder: Path, corpus: Corpus, out: Path) -> Embedded:
    """Write what the last layer of a model makes logits of, as `fused`; the same call resumes an interrupted one.

    Args:
        recognizer: the model.
        folder: of the model.
        corpus: the utterances.
        out: the .parquet file.

    Raises:
        MMERError, KeyboardInterrupt: see `embed`.
    """
    file, identity = EmbeddingFile(out, "utterance"), model_hash(folder)
    with only_writer(file.path.with_name(f"{file.path.name}{PARTS}").resolve(), "embed"):
        source_sha256 = hashlib.sha256(f"last layer of {identity}".encode()).hexdigest()
        file.check_replaced(source_sha256, str(folder))
        source = Source(recognizer, (FUSED,), identity)
        return _Job(source, file, corpus, batch_size=16, source_sha256=source_sha256).run()


class _Job:
    """One call of `embed` or `embed_for_last_layer`."""

    def __init__(
        self,
        source: Source,
        file: EmbeddingFile,
        corpus: Corpus,
        batch_size: int,
        source_sha256: str,
    ) -> None:
        self.recognizer, self.file, self.batch_size = source.recognizer, file, batch_size
        self.source_sha256 = source_sha256
        self.columns, self.corpus = file.written_columns(source.columns), corpus
        self.utterances, self.trained_on = corpus_utterances(corpus), source.trained_on
        self.emotions = dict(zip(corpus.table["utterance_id"], corpus.table["emotion"], strict=True))
        self.parts = file.path.with_name(f"{file.path.name}{PARTS}").resolve()

    def run(self) -> Embedded:
        """Embed what is missing, and put the parts together."""
        rows = ROWS[self.file.level]
        groups = [self.utterances[start : start + rows] for start in range(0, len(self.utterances), rows)]
        parts = dict(zip(self._names(groups), groups, strict=True))
        missing = {part: group for part, group in parts.items() if not part.is_file()}
        done = len(self.utterances) - sum(map(len, missing.values()))
        with KeptSound() as kept, speed(messages(), "embedding", len(self.utterances), done) as show:
            speakers = {}
            if missing and self.recognizer.processor.per_speaker:
                speakers = self.recognizer.speaker_statistics(self.utterances, kept)
            try:
                for part, group in missing.items():
                    write_bytes(part, parquet_bytes(self._table(group, speakers, kept, show)))
            except KeyboardInterrupt:
                finished = sum(len(group) for part, group in parts.items() if part.is_file())
                told = counted(finished, "utterance", "is", "are", of=len(self.utterances))
                where = f" in {self.parts}" if finished else ""
                raise KeyboardInterrupt(
                    f"interrupted: {told} done{where}; the same command goes on from there"
                ) from None
        errors, unlike = list[str](), 0
        for part in parts:
            table = read_part(part, columns=["error", "warnings"])
            errors += table["error"].drop_null().to_pylist()
            unlike += count_unlike(table["warnings"].to_pylist())
        if len(errors) == len(self.utterances):
            raise MMERError(f"no utterance can be embedded, the first since {errors[0]}")
        self.file.write(list(parts), row_schema(self.columns, self.file.level))
        shutil.rmtree(self.parts, ignore_errors=True)
        return Embedded(self.file.path, self.columns, len(self.utterances), errors, unlike)

    def _names(self, groups: Sequence[Sequence[Utterance]]) -> Iterator[Path]:
        """Name the part of each group of utterances after what its rows depend on."""
        paths = list(dict.fromkeys(each.path for each in self.utterances if each.path is not None))
        states = file_states(paths)[["size", "modified"]].itertuples(index=False, name=None)
        state_of = dict(zip(paths, states, strict=True))

        def hash_of(*what: object) -> str:
            return hashlib.sha256(repr(what).encode("utf-8", "surrogatepass")).hexdigest()

        def rows_of(group: Sequence[Utterance]) -> list[object]:
            return [(each, state_of.get(each.path or ""), self.emotions[each.utterance_id]) for each in group]

        # Statistics of a speaker are those of clips in all parts.
        everywhere = hash_of(rows_of(self.utterances)) if self.recognizer.processor.per_speaker else None
        request = (__version__, self.source_sha256)
        for number, group in enumerate(groups):
            yield self.parts / f"{hash_of(request, everywhere, number, rows_of(group))[:32]}.parquet"

    def _table(
        self,
        group: Sequence[Utterance],
        speakers: Mapping[str, FeatureStatistics],
        kept: KeptSound,
        show: Any,
    ) -> pa.Table:
        """Embed utterances."""
        counted = 0

        def count(done: int) -> None:
            nonlocal counted
            show(done - counted, 0.0)
            counted = done

        sounds, met = self._sounds(group), self._splits(group)
        clips = []
        for clip in self.recognizer.answered(group, self.batch_size, count, speakers, kept):
            clips.append(clip)
            show(0, clip.prediction.duration or 0.0)
        embeddings = [self._embeddings(clip) for clip in clips]
        schema = row_schema(self.columns, self.file.level)
        about = pa.Table.from_pylist(
            [self._about(clip, sounds, met) for clip in clips],
            pa.schema([schema.field(name) for name in ABOUT]),
        )
        for name in self.columns:
            lists = as_lists([each.get(name) for each in embeddings], self.file.level)
            about = about.append_column(schema.field(name), lists)
        return about

    def _embeddings(self, clip: Clip) -> dict[str, Any]:
        """Return the embeddings of a clip; note an error where an encoder of text was given none."""
        prediction = clip.prediction
        if prediction.error is None and self.columns == ("text",) and prediction.transcript_source == "none":
            prediction.error = (
                f"{prediction.utterance_id}: no transcript was given, and the encoder reads text"
            )
        if prediction.error is not None:
            return {}
        found = {FUSED: clip.embedding, **clip.encodings}
        if prediction.transcript_source == "none":
            found["text"] = None  # of no words
        return found

    def _about(self, clip: Clip, sounds: Mapping[str, str], met: Mapping[str, str]) -> dict[str, object]:
        """Return the columns beside the embeddings."""
        prediction, processor = clip.prediction, self.recognizer.processor
        row = {
            "utterance_id": prediction.utterance_id,
            "audio_path": prediction.audio_path,
            "start": prediction.start,
            "end": prediction.end,
            "speaker": prediction.speaker,
            "emotion": self.emotions[prediction.utterance_id],
            "transcript": prediction.transcript if processor.uses_text else None,
            "transcript_source": prediction.transcript_source if processor.uses_text else "none",
            "duration": prediction.duration,
            "audio_sha256": sounds.get(prediction.audio_path or ""),
            "trained_on": met.get(prediction.utterance_id),
            "source_sha256": self.source_sha256,
            "warnings": "; ".join(prediction.warnings),
            "error": prediction.error,
        }
        return {name: valid(value) if isinstance(value, str) else value for name, value in row.items()}

    def _splits(self, group: Sequence[Utterance]) -> dict[str, str]:
        """Find the split in which the model met each utterance that it met."""
        if self.trained_on is None:
            return {}
        ids = [each.utterance_id for each in group]
        part = self.corpus.select(self.corpus.table["utterance_id"].isin(ids))
        splits = zip(part.table["utterance_id"], self.trained_on.splits_of(part), strict=True)
        return {name: split for name, split in splits if isinstance(split, str)}

    def _sounds(self, group: Sequence[Utterance]) -> dict[str, str]:
        """Compute the SHA-256 of each recording that is listened to."""
        if not self.recognizer.processor.uses_speech:
            return {}
        return files_sha256(each.path for each in group if each.path is not None)
