"""The commands that say how far answers can be trusted: one small function for each."""

from typing import Annotated

import typer

from mmer.cli_corpus import CorpusPath
from mmer.cli_options import BatchSize, Device, ModelFolder


def calibrate(
    model: ModelFolder,
    corpus: CorpusPath,
    split: Annotated[
        str, typer.Option(help="Fit on this split: validation, test, or all for every utterance.")
    ] = "validation",
    batch_size: BatchSize = 16,
    device: Device = None,
) -> None:
    """Fit what makes probabilities mean what they say, on speakers that training did not hear; kept in MODEL."""
    from rich.console import Console

    from mmer.corpora.corpus import Corpus
    from mmer.evaluation.calibration import calibrate as calibrate_model
    from mmer.evaluation.calibration_show import render
    from mmer.progress import counting

    table = Corpus.read(corpus)
    with counting(Console(stderr=True), "listening") as progress:
        calibration = calibrate_model(
            model,
            table,
            None if split == "all" else split,
            batch_size=batch_size,
            device=device,
            progress=progress,
        )
    Console().print(render(calibration))
    typer.echo(f"{model / 'calibration.json'} and {model / 'calibration.png'} written")


def add_trust_commands(app: typer.Typer) -> None:
    """Add these commands to `mmer`."""
    for command in (calibrate,):
        app.command()(command)
