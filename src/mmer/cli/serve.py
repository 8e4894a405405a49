"""The `mmer serve` command."""

from pathlib import Path
from typing import Annotated

import typer

from mmer.cli.options import MODEL_HELP, Settings, batch_size, device, model_labels, transcription


def serve(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help=MODEL_HELP,
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
    label_map: Annotated[str | None, model_labels] = None,
    transcription: Annotated[str | None, transcription] = None,
    batch_size: Annotated[int | None, batch_size] = None,
    device: Annotated[str | None, device] = None,
) -> None:
    """Answer over HTTP, with a web page; recordings stay in memory and are not stored."""
    from mmer.serving.serve import serve as serve_model
    from mmer.serving.settings import read_serve_settings

    options = {
        "label_map": label_map,
        "transcription": transcription,
        "batch_size": batch_size,
        "device": device,
    }
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    chosen = read_serve_settings(config, [*(settings or []), *given])
    serve_model(
        model,
        host=chosen.host,
        port=chosen.port,
        settings=chosen.service(),
        label_map=chosen.label_map,
        transcription=chosen.transcription,
        speakers=chosen.speakers,
        device=chosen.device,
    )
