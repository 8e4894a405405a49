"""What `mmer timeline` does: from a recording to files about it."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from mmer.audio.load import probe
from mmer.audio.speech_segments import PAUSE
from mmer.display.progress import counting
from mmer.display.terminal import ResultFormat, check_format, messages, result_format, results, tell
from mmer.errors import CodedWarning
from mmer.files.writing import check_different
from mmer.inference.inputs import check_channel
from mmer.inference.prediction import Prediction, write_predictions
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.timeline.input_segments import read_segments
from mmer.inference.timeline.output_formats import check_timeline_output
from mmer.inference.timeline.timeline import timeline
from mmer.inference.timeline.timeline_table import print_timeline
from mmer.memory import return_freed_memory
from mmer.plain_text import json_text


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
        for warning in segment.warnings:
            fault = warning.fault if isinstance(warning, CodedWarning) else warning
            warnings.setdefault(fault, []).append(warning)
    errors = [segment.error for segment in segments if segment.error]
    told = [f"{len(group)} of {len(segments)} segments: {group[0]}" for group in warnings.values()]
    for line in (*errors, *told):
        tell(f"mmer: {line}", console)
