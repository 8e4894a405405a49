"""Arguments that several commands have."""

from pathlib import Path
from typing import Annotated

import typer


def _model_folder(path: Path) -> Path:
    from mmer.inference.backends.bundle import model_folder

    return model_folder(path)


ModelFolder = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        callback=_model_folder,
        help="A model folder, such as RUN/model, or a file of mmer bundle.",
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Utterances the model answers at a time.")]
Transcription = Annotated[
    str,
    typer.Option(
        help="Where the words come from: given, none, ctc (heard by the model itself) or whisper:NAME-OR-FOLDER."
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; the first GPU if there is one.")]
