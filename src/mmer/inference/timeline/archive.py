"""Timelines of many recordings in one folder, resumable after any interruption."""

import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from mmer.audio.checks import check_seconds
from mmer.audio.load import probe
from mmer.audio.speech_segments import PAUSE, Segment
from mmer.corpora.tables import write_table
from mmer.display.progress import counting
from mmer.display.terminal import messages, tell
from mmer.errors import AudioError, MMERError, Parameter
from mmer.features.preprocessor import Preprocessor
from mmer.files.damaged import MADE_AGAIN, read_json_object
from mmer.files.lock import only_writer
from mmer.files.own_folder import check_own_folder
from mmer.files.regular import check_regular
from mmer.files.writing import TABLES, check_output_folder, write_json, writing
from mmer.inference.backends.model_folder import model_hash
from mmer.inference.backends.models import model_folder, read_model_processor
from mmer.inference.inputs import Utterance, check_channel, collect_inputs
from mmer.inference.known_speakers import SPEAKER_NOT_USED
from mmer.inference.prediction import WRITERS, Prediction, Row, write_predictions
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.timeline.output_formats import SUFFIXES, check_package
from mmer.inference.timeline.speakers import Speakers, check_speakers
from mmer.inference.timeline.summary import summarize
from mmer.inference.timeline.timeline import Timeline, timeline
from mmer.inference.transcription import Transcription
from mmer.inference.trust.out_of_distribution import count_unlike
from mmer.plain_text import counted, valid
from mmer.runs.journal import Journal
from mmer.runs.result_file import ResultFile
from mmer.runs.resume import Name, differences, refuse_other

_MANIFEST, _JOURNAL, _TIMELINES, _FILES = "_manifest.json", "_journal.jsonl", "_timelines", "recordings"
_THREADS = 8  # that read headers, which wait for the disk
_LONGEST_NAME = 200  # bytes of a recording's name in the names of its files
_TEXTS = {"audio_path", "scope", "voice", "emotion", "peak_voice", "peak_transcript"}
_COUNTS = {"segments", "unanswered"}
_SKIPPED = pa.schema([("audio_path", pa.string()), ("error", pa.string())])


@dataclass(frozen=True, kw_only=True)
class TimelinesSettings(ResultFile):
    """Content of `_manifest.json`: the request, which a later call must repeat to resume the folder.

    Attributes:
        model_sha256: hash of the model.
        channel, one_speaker, smoothing, pause, transcription, each, embed_audio, speakers: see `timelines`.
        recognizer_sha256: see `Transcription`.
    """

    model_sha256: str
    channel: str
    one_speaker: bool
    smoothing: float
    pause: float
    transcription: str
    each: Sequence[str]
    embed_audio: bool
    speakers: Speakers | None = None
    recognizer_sha256: str | None = None


@dataclass(frozen=True)
class Recording:
    """A recording to answer.

    Attributes:
        path: of the file.
        segments: given segments; None to find them.
    """

    path: str
    segments: list[Segment] | None = None

    @cached_property
    def key(self) -> str:
        """Return the name of its timeline, which depends on its absolute path."""
        return hashlib.sha256(os.fsencode(os.path.abspath(self.path))).hexdigest()[:16]

    def state(self) -> str:
        """Describe the file and the given segments, so that a change of either is noticed.

        Raises:
            AudioError: there is no such file, or it is none that can be read.
        """
        file = check_regular(self.path)
        given = None if self.segments is None else [asdict(segment) for segment in self.segments]
        return json.dumps([file.st_size, file.st_mtime_ns, given])


@dataclass(frozen=True)
class Timelines:
    """Content of a complete folder of timelines.

    Attributes:
        folder: the folder.
        recordings: number of recordings with a timeline.
        new: number of those that the call answered.
        answers: number of segments in all timelines.
        errors: reasons why recordings were skipped, one line each.
        unanswered: reasons why segments have no answer, one line each.
        unlike: number of recordings with a segment that is unlike the recordings of the training.
    """

    folder: Path
    recordings: int
    new: int
    answers: int
    errors: list[str]
    unanswered: list[str]
    unlike: int

    def __str__(self) -> str:
        parts = [counted(self.recordings, "recording"), counted(self.answers, "segment")]
        if self.errors:
            parts.append(f"{counted(len(self.errors), 'recording')} skipped")
        if self.unanswered:
            parts.append(f"{counted(len(self.unanswered), 'segment')} without an answer")
        return f"{', '.join(parts)} in {self.folder}"


def names_several(source: str) -> bool:
    """Tell whether a path is a folder, a table or a pattern, and not one recording."""
    if os.path.exists(source):
        return os.path.isdir(source) or Path(source).suffix.lower() in TABLES
    return glob.has_magic(source)


def timelines(
    model: Path,
    source: str,
    out: Path,
    *,
    each: Sequence[str] = (),
    tables: str = ".parquet",
    channel: str = "mix",
    one_speaker: bool = False,
    speakers: Speakers | None = None,
    smoothing: float = 0.0,
    pause: float = PAUSE,
    embed_audio: bool = False,
    transcription: str = "given",
    batch_size: int = 16,
    device: str | None = None,
) -> Timelines:
    """Answer every segment of speech in many recordings.

    `out` gets a table of all segments (`segments`, the columns of `predictions_frame`), one of all summaries
    (`summaries`, a row for each emotion of each voice of each recording and of the whole recording, the columns of
    `Summary.to_rows`), and one of the recordings that could not be answered, with the reason (`skipped`).

    The same call resumes an interrupted one, which loses at most the recording under way. It also answers recordings
    that are new, have changed or were skipped.

    Args:
        model: a model folder.
        source: a folder, a pattern, or a corpus table; rows of the table with `start` or `end` are given segments of
            their recording, with their speaker and transcript.
        out: the folder to write.
        each: suffixes of further files that each recording gets in `out/recordings`, see `Timeline.write`.
        tables: suffix of the tables: `.parquet`, `.csv` or `.jsonl`.
        channel, one_speaker, speakers, smoothing, pause: see `mmer.inference.timeline.timeline.timeline`.
        embed_audio: see `Timeline.write`.
        transcription, batch_size, device: see `EmotionRecognizer`.

    Raises:
        MMERError: the model or the source cannot be read, `out` holds timelines by another model or with other
            settings, or cannot be written to.
        MissingExtraError: `speakers` or a file of `each` needs a package that is not installed.
        KeyboardInterrupt: the user interrupts; its message says what is saved.
    """
    _check_kinds(tables, each)
    check_channel(channel)
    check_seconds(pause, "pause")
    check_seconds(smoothing, "smoothing")
    if speakers is not None:
        speakers = check_speakers(speakers, one_speaker)
    model = model_folder(model)
    processor = read_model_processor(model)
    Transcription.parse(transcription).check(processor)
    console = messages()
    if one_speaker and not processor.per_speaker:
        tell(f"mmer: {SPEAKER_NOT_USED}", console)
    check_output_folder(out)
    recordings, soundless = _recordings(source, partial(tell, console=console))
    settings = TimelinesSettings(
        model_sha256=model_hash(model),
        channel=channel,
        one_speaker=one_speaker,
        smoothing=smoothing,
        pause=pause,
        transcription=transcription,
        each=sorted(each),
        embed_audio=embed_audio,
        speakers=speakers,
        recognizer_sha256=Transcription.parse(transcription).recognizer_sha256,
    )
    with only_writer(out, "timelines"):
        _begin(out, settings)
        journal = Journal(out / _JOURNAL)
        before = {entry["key"]: entry["state"] for entry in journal.entries()}
        missing = [
            recording
            for recording in recordings
            if not (_is_done(recording, before) and (out / _TIMELINES / f"{recording.key}.json").exists())
        ]
        skipped = dict(soundless)
        if missing:
            if len(missing) < len(recordings):
                before_now = len(recordings) - len(missing)
                tell(f"{counted(before_now, 'recording', 'is', 'are', of=len(recordings))} done", console)
            answer = partial(
                timeline,
                EmotionRecognizer.from_pretrained(model, device, transcription),
                channel=channel,
                one_speaker=one_speaker,
                speakers=speakers,
                smoothing=smoothing,
                pause=pause,
                batch_size=batch_size,
            )
            skipped |= _write_timelines(out, answer, missing, journal, each, console, embed_audio=embed_audio)
        done = [recording for recording in recordings if recording.path not in skipped]
        return _tables(out, tables, done, skipped, processor, len(missing) - (len(skipped) - len(soundless)))


def _check_kinds(tables: str, each: Sequence[str]) -> None:
    """Check the suffixes of the tables and of the files of each recording.

    Raises:
        MMERError: there is no such kind.
        MissingExtraError: a kind needs a package that is not installed.
    """
    if tables not in WRITERS:
        raise MMERError(f"no tables of the kind {tables!r}; it must be one of {', '.join(WRITERS)}")
    for suffix in each:
        if suffix.lower() not in SUFFIXES:
            raise MMERError(f"no files of the kind {suffix!r}; it must be one of {', '.join(SUFFIXES)}")
        check_package(suffix.lower())


def _recordings(source: str, note: Callable[[str], None]) -> tuple[list[Recording], dict[str, str]]:
    """Find the recordings, each once, with the segments that a table gives; and the rows of it without sound."""
    rows: dict[str, list[Utterance]] = {}
    soundless: dict[str, str] = {}
    for utterance in collect_inputs([source], note):
        if utterance.path is None:
            name = utterance.utterance_id or "a row"
            soundless[name] = f"{source}: {name} has no recording; a timeline needs sound"
        else:
            rows.setdefault(utterance.path, []).append(utterance)
    found = [Recording(path, _given(path, utterances)) for path, utterances in rows.items()]
    unused = sum(
        recording.segments is None and any(row.transcript for row in rows[recording.path])
        for recording in found
    )
    if unused:
        told = f"the transcripts of {counted(unused, 'whole recording')} are not used"
        note(f"{source}: {told}; give start and end of each utterance")
    return found, soundless


def _given(path: str, utterances: Sequence[Utterance]) -> list[Segment] | None:
    if all(each.start is None and each.end is None for each in utterances):
        return None
    last = 0.0
    if any(each.end is None for each in utterances):
        with suppress(AudioError):  # which `timeline` raises again
            last = probe(path).duration
    segments = [
        Segment(
            each.start or 0.0,
            last if each.end is None else each.end,
            speaker=each.speaker,
            transcript=each.transcript,
        )
        for each in utterances
    ]
    return sorted(segments, key=lambda segment: segment.start)


def _begin(out: Path, settings: TimelinesSettings) -> None:
    """Record the settings, or check them against the recorded ones."""
    file = out / _MANIFEST
    if file.exists():
        before = vars(TimelinesSettings.read(file, "use another folder"))
        called: dict[str, Name] = {
            name: (Parameter(name), f" ({value} before)") for name, value in before.items()
        }
        called |= {"model_sha256": "the model", "recognizer_sha256": "the speech recognizer"}
        different = differences(before, vars(settings), called)
        refuse_other(out, "holds timelines made in another way", different)
        return
    check_own_folder(out, "a folder of timelines", _MANIFEST)
    settings.write(file)


def _is_done(recording: Recording, before: dict[str, str]) -> bool:
    try:
        return before.get(recording.key) == recording.state()
    except AudioError:  # which `_answered` says
        return False


def _write_timelines(
    out: Path,
    answer: Callable[..., Timeline],
    recordings: Sequence[Recording],
    journal: Journal,
    each: Sequence[str],
    console: Console,
    *,
    embed_audio: bool,
) -> dict[str, str]:
    """Answer recordings and write what each gets; return those that could not be answered, with the reasons.

    Raises:
        KeyboardInterrupt: the user interrupts; its message says what is saved.
    """
    skipped: dict[str, str] = {}
    files = {suffix: out / _FILES for suffix in each}
    for folder in (out / _TIMELINES, *files.values()):
        folder.mkdir(exist_ok=True)
    try:
        with journal.appending() as append:
            for recording, state, found, error in _answered(answer, recordings, console):
                if found is None:
                    skipped[recording.path] = error
                    continue
                for suffix, folder in files.items():
                    found.write(folder / _file_name(recording, suffix), embed_audio=embed_audio)
                write_json(out / _TIMELINES / f"{recording.key}.json", found.to_dict(), indent=None)
                append({"key": recording.key, "state": state})
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted: what is done is in {out}; the same command goes on from there"
        ) from None
    return skipped


def _answered(
    answer: Callable[..., Timeline], recordings: Sequence[Recording], console: Console
) -> Iterator[tuple[Recording, str, Timeline | None, str]]:
    """Answer recordings one by one; yield each with its state and its timeline, or with the reason for none."""
    with ThreadPoolExecutor(_THREADS) as threads:
        lengths = list(threads.map(_duration, recordings))
    total, done = sum(lengths), 0.0
    with counting(console, "seconds of sound", int(total)) as show:
        show(0)
        for recording, length in zip(recordings, lengths, strict=True):

            def report(part: int, whole: int, done: float = done, length: float = length) -> None:
                show(int(done + length * part / max(whole, 1)))

            state, found, error = "", None, ""
            try:
                state = recording.state()
                found = answer(recording.path, segments=recording.segments, progress=report)
            except (MMERError, OSError) as raised:
                error = str(raised)
            yield recording, state, found, error
            done += length


def _duration(recording: Recording) -> float:
    try:
        return probe(recording.path).duration
    except (AudioError, OSError):
        return 0.0  # which `timeline` says


def _file_name(recording: Recording, suffix: str) -> str:
    """Name a file after its recording; the key tells recordings of the same name apart."""
    stem = Path(recording.path).stem
    while len(os.fsencode(stem)) > _LONGEST_NAME:
        stem = stem[:-1]
    return f"{stem}-{recording.key[:8]}{suffix}"


def _tables(
    out: Path,
    suffix: str,
    done: Sequence[Recording],
    skipped: dict[str, str],
    processor: Preprocessor,
    new: int,
) -> Timelines:
    """Write the tables from the timelines in the folder."""
    summaries: list[Row] = []
    unanswered: list[str] = []
    unlike = 0

    def segments() -> Iterator[Prediction]:
        nonlocal unlike
        for recording in done:
            file = out / _TIMELINES / f"{recording.key}.json"
            found = Timeline.from_dict(read_json_object(file, MADE_AGAIN))
            for summary in found.summaries:
                summaries.extend({"audio_path": found.recording} | row for row in summary.to_rows())
            unanswered.extend(segment.error or "" for segment in found.errors)
            unlike += any(count_unlike(segment.warnings) for segment in found.segments)
            yield from found.segments

    answers, _ = write_predictions(
        segments(), out / f"segments{suffix}", labels=processor.labels, dimensions=processor.dimensions
    )
    _write(summaries, _summary_schema(), out / f"summaries{suffix}")
    rows = [{"audio_path": valid(path), "error": valid(error)} for path, error in skipped.items()]
    _write(rows, _SKIPPED, out / f"skipped{suffix}")
    return Timelines(out, len(done), new, answers, list(skipped.values()), unanswered, unlike)


def _summary_schema() -> pa.Schema:
    columns = summarize([], ["any emotion"], 1.0)[0].to_rows()[0]
    kinds = dict.fromkeys(_TEXTS, pa.string()) | dict.fromkeys(_COUNTS, pa.int64())
    return pa.schema([(name, kinds.get(name, pa.float64())) for name in ("audio_path", *columns)])


def _write(rows: Sequence[Mapping[str, object]], schema: pa.Schema, path: Path) -> None:
    table = pa.Table.from_pylist(rows, schema)
    if path.suffix != ".parquet":
        write_table(table.to_pandas(), path)
        return
    with writing(path) as part:
        pq.write_table(table, part)
