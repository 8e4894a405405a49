"""The `mmer serve` command."""

from pathlib import Path
from typing import Annotated

import typer

from mmer.cli.options import Settings, batch_size, device, transcription


def serve(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A model folder, such as RUN/model, or a file that `mmer model bundle` wrote.",
        ),
    ],
    settings: Settings = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A .yaml file of settings. Environment variables such as MMER_PORT override it, and NAME=VALUE "
            "overrides both.",
        ),
    ] = None,
    transcription: Annotated[str | None, transcription] = None,
    batch_size: Annotated[int | None, batch_size] = None,
    device: Annotated[str | None, device] = None,
) -> None:
    """Answer over HTTP, with a web page; recordings stay in memory and are not stored."""
    from mmer.serving.serve import serve as serve_model
    from mmer.serving.settings import read_serve_settings

    options = {"transcription": transcription, "batch_size": batch_size, "device": device}
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    chosen = read_serve_settings(config, [*(settings or []), *given])
    serve_model(
        model,
        host=chosen.host,
        port=chosen.port,
        settings=chosen.service(),
        transcription=chosen.transcription,
        speakers=chosen.speakers,
        device=chosen.device,
    )
