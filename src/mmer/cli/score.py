"""The `mmer score` command."""

from pathlib import Path
from typing import Annotated

import typer

from mmer.cli.options import BatchSize, Device, ModelFolder, Transcription
from mmer.display.terminal import tell

_LISTED = 5  # errors told one by one; the others are in the table


def score(
    model: ModelFolder,
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A corpus table, a folder of recordings, or hf:NAME[:CONFIG]."),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="The folder: part-00000.parquet and so on, in the order of SOURCE.")
    ],
    engine: Annotated[
        str, typer.Option(help="local, or ray: the cluster of RAY_ADDRESS, or this machine.")
    ] = "local",
    shard_rows: Annotated[
        int, typer.Option(min=1, help="Rows of a file, which is written when all are there.")
    ] = 512,
    transcription: Transcription = "given",
    batch_size: BatchSize = 16,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that read and answer, each with the model; on Ray, actors.")
    ] = 1,
    device: Device = None,
) -> None:
    """Score an archive into sharded Parquet; the same command again goes on after an interruption."""
    from mmer.inference.archive.score import score as score_archive

    scored = score_archive(
        model,
        source,
        out,
        engine=engine,
        shard_rows=shard_rows,
        transcription=transcription,
        batch_size=batch_size,
        workers=workers,
        device=device,
    )
    for error in scored.errors[:_LISTED]:
        tell(f"mmer: {error}")
    if len(scored.errors) > _LISTED:
        tell(f"mmer: and {len(scored.errors) - _LISTED} more")
    tell(scored)
    if scored.errors:
        raise typer.Exit(2)
