"""Scoring of an archive of recordings, resumable after any interruption."""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console

from mmer.corpora.formats.exchange import read_from
from mmer.display.progress import counting, speed
from mmer.display.terminal import messages, tell
from mmer.errors import Function, MMERError
from mmer.files.damaged import MADE_AGAIN, damaged_file
from mmer.inference.archive.folder import AUDIO, ScoreFolder
from mmer.inference.archive.ray_cluster import on_ray
from mmer.inference.archive.shard import Job, Shard, Work
from mmer.inference.archive.workers import Answer, on_this_machine
from mmer.inference.backends.model_folder import model_hash
from mmer.inference.backends.models import model_folder, read_model_processor
from mmer.inference.inputs import Utterance, collect_inputs, corpus_utterances
from mmer.inference.transcription import Transcription
from mmer.inference.trust.out_of_distribution import count_unlike
from mmer.plain_text import counted

ENGINES = {"local": on_this_machine, "ray": on_ray}


@dataclass(slots=True)
class Scored:
    """Content of a complete folder of scores, and the work of the call that completed it.

    Attributes:
        folder: the folder.
        files: the parts, in the order of the inputs.
        rows: number of rows in all parts.
        errors: reason for each row without an answer.
        unlike: number of rows whose recording is unlike those of the training.
        new_rows, new_sound, took: rows and seconds of sound that the call answered, and its duration in seconds.
        padding: share of the batches of the call, 0-1, that pads shorter clips.
    """

    folder: Path
    files: list[Path]
    rows: int = 0
    errors: list[str] = field(default_factory=list)
    unlike: int = 0
    new_rows: int = 0
    new_sound: float = 0.0
    took: float = 0.0
    padding: float = 0.0

    def __str__(self) -> str:
        failed = f", {len(self.errors)} of them without an answer (column error)" if self.errors else ""
        parts = counted(len(self.files), "file")
        done = f"{counted(self.rows, 'row')} in {parts} in {self.folder}{failed}"
        if not self.new_rows:
            return done
        rate = f"{self.new_rows / self.took:.1f} a second"
        if not self.new_sound:
            return f"{done}; {counted(self.new_rows, 'row')} answered now in {self.took:.0f} s: {rate}"
        sound = f"{self.new_sound / 60:.1f} min of sound in {self.took:.0f} s"
        rates = f"{rate}, {self.new_sound / self.took:.0f} times real time"
        padding = f"{self.padding:.1%} of the batches is padding"
        return f"{done}; {counted(self.new_rows, 'recording')} answered now, {sound}: {rates}; {padding}"


def score(
    model: Path,
    source: str,
    out: Path,
    *,
    engine: str = "local",
    shard_rows: int = 512,
    transcription: str = "given",
    batch_size: int = 16,
    workers: int = 1,
    device: str | None = None,
) -> Scored:
    """Predict the emotion of every recording of an archive; an interrupted call loses at most unfinished files.

    The answers equal those of one call of `EmotionRecognizer.predict`. For a model that standardizes per speaker, the
    statistics of all clips of each speaker are computed first and stored beside the answers.

    Args:
        model: a model folder.
        source: a table, an audio folder, or `hf:NAME[:CONFIG]`, whose recordings are written to `out`.
        out: the folder; the same call resumes an interrupted one.
        engine: `local`, or `ray` for a Ray cluster.
        shard_rows: rows of a file, the most that each worker answers again after an interruption.
        workers: processes, or actors of Ray, each with the model.
        transcription, batch_size, device: see `EmotionRecognizer`.

    Raises:
        MMERError: there is no such engine; the model or the inputs do not exist; `out` holds answers from another
            model, other inputs or other settings, or cannot be written to; a worker was lost.
        MissingExtraError: the engine, or reading hf:, needs a package that is not installed.
    """
    if engine not in ENGINES:
        raise MMERError(f"no engine {engine!r}; it must be {' or '.join(ENGINES)}")
    model = model_folder(model)
    processor = read_model_processor(model)
    words = Transcription.parse(transcription)
    words.check(processor)
    console, folder = messages(), ScoreFolder(out)
    with folder.locked():
        utterances = _inputs(source, folder, console)
        job = Job(model, model_hash(model), transcription, batch_size, device)
        folder.begin(
            source,
            utterances,
            model=str(model),
            model_sha256=job.model_sha256,
            transcription=words,
            shard_rows=shard_rows,
        )
        parts = {
            f"part-{number:05d}.parquet": utterances[start : start + shard_rows]
            for number, start in enumerate(range(0, len(utterances), shard_rows))
        }
        scored = Scored(out, [out / name for name in parts])
        missing = {name: part for name, part in parts.items() if not folder.has(name)}
        if missing:
            began = time.monotonic()
            with ENGINES[engine](job, workers) as answer:
                speakers = {}
                if processor.per_speaker:
                    shards = _speaker_shards(utterances, shard_rows)
                    _answer(answer, shards, folder, console, "computing statistics of speakers")
                    speakers = folder.speakers([shard.file for shard in shards])
                shards = []
                for name, part in missing.items():
                    names = {utterance.speaker for utterance in part}
                    shards.append(Shard(name, part, {k: v for k, v in speakers.items() if k in names}))
                work = _answer(answer, shards, folder, console, "scoring")
            scored.new_rows, scored.new_sound = work.utterances, work.sound
            scored.padding = work.padding / work.frames if work.frames else 0.0
            scored.took = time.monotonic() - began
    for file in scored.files:
        with damaged_file(file, MADE_AGAIN):
            table = pq.read_table(file, columns=["error", "warnings"])
        scored.rows += len(table)
        scored.errors += table["error"].drop_null().to_pylist()
        scored.unlike += count_unlike(table["warnings"].to_pylist())
    return scored


def _inputs(source: str, folder: ScoreFolder, console: Console) -> list[Utterance]:
    if source == "-":
        raise MMERError(
            "an archive is a table, a folder or hf:NAME, not standard input; use ",
            Function("predict", ("MODEL", "-")),
        )
    if not source.startswith("hf:"):
        return collect_inputs([source], partial(tell, console=console))
    known = folder.inputs_of(source)
    if known is not None:
        return known
    with counting(console, f"reading {source}") as progress:
        return corpus_utterances(read_from(source, folder.folder / AUDIO, progress))


def _speaker_shards(utterances: Sequence[Utterance], rows: int) -> list[Shard]:
    """Group utterances into shards of about `rows`, with all utterances of a speaker in one shard."""
    said: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        if utterance.speaker is not None:
            said[utterance.speaker].append(utterance)
    groups: list[list[list[Utterance]]] = [[]]
    for clips in said.values():
        if sum(map(len, groups[-1])) >= rows:
            groups.append([])
        groups[-1].append(clips)
    return [
        Shard(f"_speakers-{number:05d}.parquet", list(chain.from_iterable(group)), None)
        for number, group in enumerate(groups)
    ]


def _answer(
    answer: Answer, shards: Sequence[Shard], folder: ScoreFolder, console: Console, what: str
) -> Work:
    """Write the missing files of shards, and add up the work."""
    missing = [shard for shard in shards if not folder.has(shard.file)]
    total = sum(len(shard.utterances) for shard in shards)
    done = Work()
    with speed(console, what, total, total - sum(len(shard.utterances) for shard in missing)) as show:

        def report(work: Work) -> None:
            nonlocal done
            done += work
            show(work.utterances, work.sound)

        try:
            for file, content in answer(missing, report):
                folder.write(file, content)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted: what is done is in {folder.folder}; the same command goes on from there"
            ) from None
    return done
