"""The `mmer timeline` and `mmer listen` commands."""

from pathlib import Path
from typing import Annotated

import typer

from mmer.cli.options import BatchSize, Device, ModelFolder, Transcription
from mmer.errors import MMERError


def timeline(
    model: ModelFolder,
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="Audio or video of any length.")],
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out",
            "-o",
            help="A .json, .csv, .srt, .vtt, .TextGrid, .eaf, .txt (Audacity), .rttm, .png, .svg or .pdf file; "
            "repeatable. JSON on standard output unless given.",
        ),
    ] = None,
    segments: Annotated[
        Path | None,
        typer.Option(help="Segments that are known: .rttm, .TextGrid, .csv, .srt or .vtt, with their words."),
    ] = None,
    tier: Annotated[
        list[str] | None, typer.Option(help="Of the TextGrid, this tier alone; repeatable.")
    ] = None,
    channel: Annotated[
        str, typer.Option(help="mix, left, right, a number from 1, or each: every channel is a speaker.")
    ] = "mix",
    one_speaker: Annotated[
        bool,
        typer.Option(
            "--one-speaker", help="One person speaks throughout, for models normalized per speaker."
        ),
    ] = False,
    smoothing: Annotated[
        float, typer.Option(min=0, help="Seconds over which what was before is forgotten; 0 for none.")
    ] = 0.0,
    pause: Annotated[float, typer.Option(min=0.1, help="Seconds of silence that end a segment.")] = 0.5,
    transcription: Transcription = "given",
    batch_size: BatchSize = 16,
    device: Device = None,
) -> None:
    """Emotions along a recording, hours long if need be: an answer for each segment of speech."""
    from mmer.inference.command import timeline_of

    errors = timeline_of(
        model,
        recording,
        out or [],
        segments=segments,
        tiers=tier,
        channel=channel,
        one_speaker=one_speaker,
        smoothing=smoothing,
        pause=pause,
        transcription=transcription,
        batch_size=batch_size,
        device=device,
    )
    if errors:
        raise typer.Exit(2)


def listen(
    model: ModelFolder,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[-]", help="- for 16-bit PCM, mono, on standard input; the microphone unless given."
        ),
    ] = None,
    rate: Annotated[
        int, typer.Option(min=1000, max=768_000, help="Hz of what comes on standard input.")
    ] = 16000,
    device_mic: Annotated[
        str | None, typer.Option(help="Number of the microphone, or a part of its name.")
    ] = None,
    pause: Annotated[float, typer.Option(min=0.1, help="Seconds of silence that end an utterance.")] = 0.5,
    every: Annotated[
        float, typer.Option(min=0, help="Seconds of speech between provisional answers; 0 for none.")
    ] = 1.0,
    transcription: Annotated[
        str,
        typer.Option(
            help="Where the words come from: none, ctc (heard by the model itself) or whisper:NAME-OR-FOLDER."
        ),
    ] = "none",
    device: Device = None,
) -> None:
    """Answer while somebody speaks, until Ctrl-C or the end of the pipe; JSON lines unless on a terminal."""
    if source not in (None, "-"):
        raise MMERError(f"listening to {source}: give - for standard input, or nothing for the microphone")
    from mmer.inference.listen_command import listen_to

    listen_to(
        model,
        piped=source is not None,
        rate=rate,
        microphone_name=device_mic,
        pause=pause,
        interval=every,
        transcription=transcription,
        device=device,
    )
