"""What `mmer timeline` does: from a recording to files about it, from several to a folder of tables."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from mmer.audio.checks import check_seconds
from mmer.audio.load import probe
from mmer.audio.speech_segments import PAUSE
from mmer.display.progress import counting
from mmer.display.terminal import (
    ResultFormat,
    check_format,
    messages,
    result_format,
    results,
    tell,
    tell_errors,
)
from mmer.errors import MMERError, Parameter
from mmer.files.writing import check_different
from mmer.inference.inputs import check_channel
from mmer.inference.known_speakers import SPEAKER_NOT_USED
from mmer.inference.prediction import Prediction, write_predictions
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.timeline.archive import Timelines, names_several, timelines
from mmer.inference.timeline.input_segments import read_segments
from mmer.inference.timeline.output_formats import SUFFIXES, check_timeline_output
from mmer.inference.timeline.segments import warning_lines
from mmer.inference.timeline.speakers import check_speakers
from mmer.inference.timeline.timeline import timeline
from mmer.inference.timeline.timeline_table import print_timeline
from mmer.inference.trust.out_of_distribution import unlike_note
from mmer.memory import return_freed_memory
from mmer.plain_text import json_text


def timeline_of(
    model: Path,
    source: str,
    out: Sequence[Path],
    *,
    each: Sequence[str] = (),
    segments: Path | None = None,
    tiers: list[str] | None = None,
    channel: str = "mix",
    one_speaker: bool = False,
    speakers: str | None = None,
    smoothing: float = 0.0,
    pause: float = PAUSE,
    embed_audio: bool = False,
    format: ResultFormat | None = None,
    transcription: str = "given",
    batch_size: int = 16,
    device: str | None = None,
) -> int:
    """Answer each segment of a recording and write files about it, or those of several and write a folder.

    Args:
        model: a model folder.
        source: a recording; or a folder, a pattern or a table of several.
        out: of one recording, see `Timeline.write`; if there are none, standard output gets a table, JSON in one line,
            or CSV with a row for each segment. Of several, the folder of `mmer.inference.timeline.archive.timelines`.
        each: of several, see `timelines`.
        format: of standard output, see `result_format`; of several recordings, of the tables, Parquet by default.
        segments, tiers: see `read_segments`.
        channel, one_speaker, speakers, smoothing, pause: see `mmer.inference.timeline.timeline.timeline`.
        embed_audio: see `Timeline.write`.
        transcription, batch_size, device: see `EmotionRecognizer`.

    Returns:
        How many segments have no answer, and recordings were skipped.

    Raises:
        MMERError: the model, the recording or the segments cannot be read, a file cannot be written, there is a file
            and a format, or something is given that only one recording, only several or only a TextGrid can have.
    """
    if embed_audio and ".html" not in {*(path.suffix.lower() for path in out), *map(str.lower, each)}:
        page = Parameter("each", ".html") if names_several(source) else "a .html file"
        raise MMERError(Parameter("embed_audio"), " is for a page; ask for ", page)
    check_seconds(pause, "pause")
    check_seconds(smoothing, "smoothing")
    if tiers and (segments is None or segments.suffix.lower() != ".textgrid"):
        raise MMERError(Parameter("tier"), " is of a TextGrid; give one with ", Parameter("segments"))
    asked = None if speakers is None else check_speakers(speakers, one_speaker)
    if names_several(source):
        write = partial(
            timelines,
            channel=channel,
            one_speaker=one_speaker,
            speakers=asked,
            smoothing=smoothing,
            pause=pause,
            embed_audio=embed_audio,
            transcription=transcription,
            batch_size=batch_size,
            device=device,
        )
        return _several(write, model, source, out, each, format, segments)
    recording = Path(source)
    if not recording.exists():
        probe(recording)  # which says so, before a folder that is missed is taken for one recording
    if each:
        raise MMERError(
            Parameter("each"), " is for several recordings; name the files of one with ", Parameter("out")
        )
    check_format(format, out)
    check_channel(channel)
    inputs = [model, recording, *([] if segments is None else [segments])]
    for path in out:
        check_timeline_output(path, inputs)
    check_different(out)
    given = None if segments is None else read_segments(segments, str(recording), tiers)
    probe(recording)
    return_freed_memory()
    recognizer = EmotionRecognizer.from_pretrained(model, device, transcription)
    console = messages()
    if one_speaker and not recognizer.processor.per_speaker:
        tell(f"mmer: {SPEAKER_NOT_USED}", console)
    with counting(console, "seconds") as progress:
        found = timeline(
            recognizer,
            recording,
            segments=given,
            channel=channel,
            smoothing=smoothing,
            pause=pause,
            one_speaker=one_speaker,
            speakers=asked,
            batch_size=batch_size,
            progress=progress,
        )
    _report_segments(found.segments, console)
    for path in out:
        found.write(path, embed_audio=embed_audio)
    printed = result_format(format)
    if not out and printed == "table":
        print_timeline(found, results())
        return len(found.errors)
    if not out and printed == "csv":
        write_predictions(
            found.segments, None, labels=found.labels, dimensions=found.dimensions, format="csv"
        )
    elif not out:
        print(json_text(found.to_dict()), flush=True)
    told = repr(found).removeprefix("Timeline(").removesuffix(")")
    tell(told, console)
    return len(found.errors)


def _several(
    write: Callable[..., Timelines],
    model: Path,
    source: str,
    out: Sequence[Path],
    each: Sequence[str],
    format: ResultFormat | None,
    segments: Path | None,
) -> int:
    """Write the folder of several recordings; return how many were skipped, and segments have no answer."""
    if segments is not None:
        raise MMERError(
            Parameter("segments"),
            f" is about one recording, and {source} names several; give a table with start and end of each utterance",
        )
    if len(out) != 1 or out[0].suffix.lower() in SUFFIXES:
        raise MMERError(
            f"{source} names several recordings; give one folder for their tables, with ", Parameter("out")
        )
    if format == "table":
        raise MMERError(
            Parameter("format", "table"),
            " is for a terminal; several recordings make parquet, csv or jsonl files",
        )
    made = write(model, source, out[0], each=each, tables=f".{format or 'parquet'}")
    tell_errors(made.errors)
    tell_errors(made.unanswered)
    tell(made)
    if (note := unlike_note(made.unlike, made.recordings)) is not None:
        tell(f"warning: {note}", style="yellow")
    return len(made.errors) + len(made.unanswered)


def _report_segments(segments: Sequence[Prediction], console: Console) -> None:
    """Print a line for each segment without an answer, and one for each kind of warning."""
    errors = [segment.error for segment in segments if segment.error]
    for line in (*errors, *warning_lines(segments)):
        tell(f"mmer: {line}", console)
