"""The `mmer serve` command."""

from pathlib import Path
from typing import Annotated

import typer

from mmer.cli.options import MODEL_HELP, Settings


def serve(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    settings: Settings = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A .yaml file of settings. Environment variables such as MMER_PORT override it, and NAME=VALUE "
            "overrides both.",
        ),
    ] = None,
) -> None:
    """Answer over HTTP, with a web page; recordings stay in memory and are not stored."""
    from mmer.serving.serve import serve as serve_model
    from mmer.serving.settings import read_serve_settings

    chosen = read_serve_settings(config, settings or [])
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
