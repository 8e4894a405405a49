"""The `mmer serve` command."""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="A model folder, such as RUN/model, or a file of mmer bundle."),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 for all of this machine's.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help="A file with the token that clients must send as 'Authorization: Bearer TOKEN'."),
    ] = None,
    max_upload: Annotated[float, typer.Option(min=0.001, help="MB of a request.")] = 25,
    max_duration: Annotated[
        float, typer.Option(min=1, help="Seconds of a recording or stream that is divided into segments.")
    ] = 3600,
    max_concurrent: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 256,
    max_streams: Annotated[int, typer.Option(min=1, help="Streams at a time.")] = 32,
    max_per_minute: Annotated[
        int, typer.Option(min=0, help="Requests from one address; 0 for no limit.")
    ] = 600,
    time_limit: Annotated[
        float, typer.Option(min=1, help="Seconds from the end of a request to its answer; then it gets 504.")
    ] = 600,
    grace: Annotated[
        float,
        typer.Option(min=1, help="Seconds from the order to stop to the end of the process, at most."),
    ] = 30,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A name of the service in the header Host, such as emotion.example.org; may be given several times. "
            "The names of this machine for itself and the address that is listened at are allowed already.",
        ),
    ] = None,
    trusted_proxy: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS[,ADDRESS]",
            help="Reverse proxies that tell the address of clients (X-Forwarded-For).",
        ),
    ] = None,
    transcription: Annotated[
        str,
        typer.Option(
            help="Where the words come from: given, none, ctc (heard by the model itself) or whisper:NAME-OR-FOLDER."
        ),
    ] = "given",
    speakers: Annotated[
        Path | None,
        typer.Option(
            metavar="CORPUS",
            help="Clips of speakers that requests may name, for a model that standardizes per speaker.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Utterances the model answers at a time.")] = 16,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:N; the first GPU if there is one.")
    ] = None,
) -> None:
    """Answer over HTTP, with a web page: recordings are answered in memory and not kept."""
    from mmer.serving.serve import serve as serve_model
    from mmer.serving.settings import ServiceSettings, read_token

    settings = ServiceSettings(
        token=read_token(token_file) if token_file else None,
        max_upload=round(max_upload * 1e6),
        max_duration=max_duration,
        max_concurrent=max_concurrent,
        max_streams=max_streams,
        answer_seconds=time_limit,
        grace=grace,
        allowed_hosts=frozenset(name.lower() for name in allow_host or ()),
        max_per_minute=max_per_minute,
        batch_size=batch_size,
        trusted_proxies=trusted_proxy,
    )
    serve_model(
        model,
        host=host,
        port=port,
        settings=settings,
        transcription=transcription,
        speakers=speakers,
        device=device,
    )
