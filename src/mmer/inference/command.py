"""What `mmer predict` and `mmer timeline` do: from paths to rows."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from mmer.audio.load import probe
from mmer.audio.speech_segments import PAUSE
from mmer.corpora.audio_folders import metadata_files
from mmer.display.progress import counting
from mmer.display.terminal import PlainConsole, ResultFormat, messages, result_format, results, tell
from mmer.errors import MMERError, Parameter
from mmer.files.writing import check_different
from mmer.inference.abstention import Abstention
from mmer.inference.inputs import Utterance, check_channel, collect_inputs, in_channels
from mmer.inference.prediction import (
    Prediction,
    check_output,
    write_each,
    write_predictions,
)
from mmer.inference.prediction_table import PredictionTable
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.timeline.input_segments import read_segments
from mmer.inference.timeline.output_formats import check_timeline_output
from mmer.inference.timeline.timeline import timeline
from mmer.inference.timeline.timeline_table import print_timeline
from mmer.plain_text import json_text


def predict_paths(
    model: Path,
    paths: Sequence[str],
    *,
    transcript: str | None = None,
    channel: str = "mix",
    one_speaker: bool = False,
    transcription: str = "given",
    min_confidence: float | None = None,
    coverage: float | None = None,
    by_class: bool = False,
    out: Path | None = None,
    format: ResultFormat | None = None,
    batch_size: int = 16,
    device: str | None = None,
) -> int:
    """Predict the emotion of everything that `paths` name, and write a row for each recording.

    Errors and warnings go to standard error too, one line for each recording that has any, unless a table shows them.

    Args:
        model: a model folder.
        paths: see `collect_inputs`; none for a transcript alone.
        transcript: what is said, for one recording or none.
        channel: see `in_channels`.
        one_speaker: all recordings are of one person.
        min_confidence, coverage, by_class: see `Abstention`.
        out: see `write_predictions`; None for standard output.
        format: of standard output, see `result_format`.
        transcription, batch_size, device: see `EmotionRecognizer`.

    Returns:
        How many recordings have no answer.

    Raises:
        MMERError: the model or the inputs cannot be found, `out` cannot be written or comes with a format, there is
            one transcript and several recordings or channels, or neither.
    """
    _check_format(format, out)
    console = messages()
    found = collect_inputs(paths, partial(tell, console=console))
    utterances = in_channels(found, channel)
    if not paths:
        if transcript is None:
            raise MMERError(
                "nothing to answer; name recordings, or give what is said with ", Parameter("transcript")
            )
        utterances = [Utterance(None, utterance_id="transcript")]
    if transcript is not None:
        if len(utterances) != 1:
            raise MMERError(
                Parameter("transcript"),
                f" belongs to one recording and {len(utterances)} were given; "
                "put the transcripts of several into a corpus table",
            )
        utterances = [replace(utterances[0], transcript=transcript)]
    if channel == "each" and transcription == "given":
        _check_transcripts(utterances)
    if one_speaker:
        utterances = [replace(utterance, speaker="the one speaker") for utterance in utterances]
    check_output(out, [model, *_files(paths, utterances)])
    recognizer = EmotionRecognizer.from_pretrained(model, device, transcription)
    abstain = Abstention(recognizer.calibration, min_confidence, coverage, by_class)
    for note in abstain.notes:
        tell(f"mmer: {note}", console)
    # Answers on the terminal show how far it is, and a bar would be drawn into them.
    bar = PlainConsole(quiet=True) if out is None and sys.stdout.isatty() else console
    with counting(bar, "predicting", len(utterances)) as progress:
        predictions = map(abstain, recognizer.predict(utterances, batch_size=batch_size, progress=progress))
        printed = result_format(format)
        if out is None and printed == "table":
            names = [utterance.utterance_id or utterance.path or "" for utterance in utterances]
            table = PredictionTable(results(), names, recognizer.labels, ranked=len(names) == 1)
            _, errors = write_each(predictions, table.add)
            return errors
        told = _reported(predictions, console)
        lines = "csv" if printed == "csv" else "jsonl"
        written, errors = write_predictions(told, out, labels=recognizer.labels, format=lines)
    if out is not None:
        failed = f", {errors} without an answer" if errors else ""
        tell(f"{written} predictions in {out}{failed}", console)
    return errors


def _check_format(format: ResultFormat | None, out: object) -> None:
    """Refuse a format beside a file, whose suffix gives its format."""
    if format is not None and out:
        raise MMERError(
            Parameter("format"),
            " is of standard output, and the suffix of a file gives its format; leave it out, or ",
            Parameter("out"),
        )


def _files(paths: Sequence[str], utterances: Sequence[Utterance]) -> list[str]:
    """List the files that are read: recordings, tables and the tables of folders."""
    named = [path for path in paths if os.path.isfile(path)]
    tables = [str(file) for path in paths if os.path.isdir(path) for file in metadata_files(Path(path))]
    return [*named, *tables, *(utterance.path for utterance in utterances if utterance.path)]


def _check_transcripts(utterances: Sequence[Utterance]) -> None:
    """Refuse a transcript for several channels, since it does not say what was said in each."""
    for utterance in utterances:
        if utterance.channel != "mix" and utterance.transcript is not None:
            raise MMERError(
                f"{utterance.utterance_id}: its transcript is of all channels together and ",
                Parameter("channel", "each"),
                " asks about one by one; give ",
                Parameter("transcription", "none"),
                ", ctc or whisper:NAME, or ",
                Parameter("channel", "left"),
                " or right",
            )


def _reported(predictions: Iterator[Prediction], console: Console) -> Iterator[Prediction]:
    for prediction in predictions:
        if prediction.error:
            tell(f"mmer: {prediction.error}", console)
        elif prediction.warnings:
            tell(f"mmer: {prediction.utterance_id}: {'; '.join(prediction.warnings)}", console)
        yield prediction


def timeline_of(
    model: Path,
    recording: Path,
    out: Sequence[Path],
    *,
    segments: Path | None = None,
    tiers: list[str] | None = None,
    channel: str = "mix",
    one_speaker: bool = False,
    smoothing: float = 0.0,
    pause: float = PAUSE,
    format: ResultFormat | None = None,
    transcription: str = "given",
    batch_size: int = 16,
    device: str | None = None,
) -> int:
    """Answer each segment of a recording, and write files about it.

    Args:
        model: a model folder.
        out: see `Timeline.write`; if there are none, standard output gets a table, JSON in one line, or CSV with a row
            for each segment.
        format: of standard output, see `result_format`.
        segments, tiers: see `read_segments`.
        channel, one_speaker, smoothing, pause: see `mmer.inference.timeline.timeline.timeline`.
        transcription, batch_size, device: see `EmotionRecognizer`.

    Returns:
        How many segments have no answer.

    Raises:
        MMERError: the model, the recording or the segments cannot be read, a file cannot be written, or there is a
            file and a format.
    """
    _check_format(format, out)
    check_channel(channel)
    inputs = [model, recording, *([] if segments is None else [segments])]
    for path in out:
        check_timeline_output(path, inputs)
    check_different(out)
    given = None if segments is None else read_segments(segments, str(recording), tiers)
    probe(recording)
    recognizer = EmotionRecognizer.from_pretrained(model, device, transcription)
    console = messages()
    with counting(console, "seconds") as progress:
        found = timeline(
            recognizer,
            recording,
            segments=given,
            channel=channel,
            smoothing=smoothing,
            pause=pause,
            one_speaker=one_speaker,
            batch_size=batch_size,
            progress=progress,
        )
    _report_segments(found.segments, console)
    for path in out:
        found.write(path)
    printed = result_format(format)
    if not out and printed == "table":
        print_timeline(found, results())
        return len(found.errors)
    if not out and printed == "csv":
        write_predictions(found.segments, None, labels=found.labels, format="csv")
    elif not out:
        print(json_text(found.to_dict()), flush=True)
    told = repr(found).removeprefix("Timeline(").removesuffix(")")
    tell(told, console)
    return len(found.errors)


def _report_segments(segments: Sequence[Prediction], console: Console) -> None:
    """Print a line for each segment without an answer, and one for each kind of warning."""
    warnings: dict[str, list[str]] = {}
    for segment in segments:
        # What is measured comes after a colon, and differs from segment to segment.
        for warning in segment.warnings:
            warnings.setdefault(warning.partition(":")[0], []).append(warning)
    errors = [segment.error for segment in segments if segment.error]
    told = [f"{len(group)} of {len(segments)} segments: {group[0]}" for group in warnings.values()]
    for line in (*errors, *told):
        tell(f"mmer: {line}", console)
