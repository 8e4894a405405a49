"""The `mmer timeline` command."""

from pathlib import Path
from typing import Annotated

import typer

from mmer.cli_options import BatchSize, Device, ModelFolder, Transcription


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
