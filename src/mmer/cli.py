"""The `mmer` command: one small function for each sub-command."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mmer.errors import MMERError

app = typer.Typer(
    name="mmer",
    help="Speech emotion recognition from what is said and how it is said.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
corpus_app = typer.Typer(help="Read, check and look at corpora.", no_args_is_help=True)
app.add_typer(corpus_app, name="corpus")

CorpusPath = Annotated[
    Path,
    typer.Argument(
        metavar="CORPUS", help="A .parquet, .csv, .tsv or .jsonl table, or a folder with metadata.csv."
    ),
]
ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder, such as RUN/model.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Utterances the model answers at a time.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; the first GPU if there is one.")]


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error.")] = False,
) -> None:
    context.obj = debug


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the recordings, the models and the pictures.")] = Path(
        "mmer-demo"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of the recordings and the training.")] = 0,
) -> None:
    """Train text only, speech only and MMER on synthetic speech with known answers, and compare them."""
    from mmer.demo import run_demo

    run_demo(out, seed=seed)


@corpus_app.command("prepare")
def corpus_prepare(
    name: Annotated[str, typer.Argument(metavar="NAME", help="iemocap, nemo or spoken.")],
    root: Annotated[
        Path,
        typer.Argument(
            metavar="ROOT", help="The unpacked release; for spoken, the folder to write recordings to."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The table to write: .parquet, .csv, .tsv or .jsonl.")
    ],
) -> None:
    """Read a released corpus into one table, and say what differs from its documentation."""
    from rich.console import Console

    from mmer.corpora import read_corpus
    from mmer.progress import counting

    console = Console(stderr=True)
    with counting(console, f"reading {name}") as progress:
        corpus = read_corpus(name, root, progress=progress)
    corpus.write(out)
    for note in corpus.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{len(corpus)} utterances in {out}", markup=False, highlight=False, soft_wrap=True)


@corpus_app.command("show")
def corpus_show(corpus: CorpusPath) -> None:
    """Count the utterances of a corpus by emotion, split and speaker."""
    from rich.console import Console

    from mmer.corpora.corpus import Corpus

    Console().print(Corpus.read(corpus).summary())


@app.command()
def train(
    recipe: Annotated[
        str, typer.Argument(help="demo, compact, iemocap-paper, iemocap-official, or a .yaml file.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SETTING=VALUE]...", help="Such as data.corpus=corpus.parquet."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The run folder.")] = Path("run"),
) -> None:
    """Train a model; the same command again goes on after an interruption."""
    from mmer.recipe import load_recipe
    from mmer.training.run import train as train_recipe

    train_recipe(load_recipe(recipe, overrides or []), out)


@app.command()
def evaluate(
    model: ModelFolder,
    corpus: CorpusPath,
    split: Annotated[
        str | None, typer.Option(help="Judge this split alone: train, validation or test.")
    ] = None,
    label_map: Annotated[
        list[str] | None,
        typer.Option("--rename", metavar="FROM=TO", help="An emotion to rename first; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for metrics, predictions and a picture.")
    ] = None,
    batch_size: BatchSize = 16,
    device: Device = None,
) -> None:
    """Judge a model on labeled utterances."""
    from rich.console import Console

    from mmer.corpora.corpus import Corpus
    from mmer.evaluation.evaluate import evaluate as evaluate_model
    from mmer.evaluation.show import render
    from mmer.progress import counting

    table = Corpus.read(corpus)
    with counting(Console(stderr=True), "judging", len(table)) as progress:
        figures = evaluate_model(
            model,
            table,
            split,
            out,
            label_map=_renamed(label_map or []),
            batch_size=batch_size,
            device=device,
            progress=progress,
        )
    Console().print(render(figures))


@app.command()
def predict(
    model: ModelFolder,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Audio or video files, folders, patterns, a corpus table, or - for one file on standard input.",
        ),
    ],
    transcript: Annotated[str | None, typer.Option(help="What is said in the one recording given.")] = None,
    one_speaker: Annotated[
        bool,
        typer.Option(
            "--one-speaker", help="All recordings are of one person, for models normalized per speaker."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A .jsonl, .csv or .parquet file; JSON lines on standard output."),
    ] = None,
    batch_size: BatchSize = 16,
    device: Device = None,
) -> None:
    """Predict the emotion of recordings; a file that cannot be read becomes a row that says why."""
    from mmer.inference.command import predict_paths

    errors = predict_paths(
        model,
        paths,
        transcript=transcript,
        one_speaker=one_speaker,
        out=out,
        batch_size=batch_size,
        device=device,
    )
    if errors:
        raise typer.Exit(2)


@app.command("import-checkpoint")
def import_checkpoint(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="OFFICIAL.pt", help="A checkpoint of the published code.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The model folder to write.")],
    text_encoder: Annotated[
        str, typer.Option(help="Name or folder of the text encoder the checkpoint was trained with.")
    ] = "roberta-base",
) -> None:
    """Turn a published MMER checkpoint into a model folder."""
    from mmer.model.import_checkpoint import import_checkpoint as import_official

    import_official(checkpoint, out, text_encoder=text_encoder)
    typer.echo(f"model folder written: {out}")


def _renamed(pairs: list[str]) -> dict[str, str]:
    renamed = {}
    for pair in pairs:
        before, equals, after = pair.partition("=")
        if not equals or not before or not after:
            raise MMERError(f"--rename {pair!r} is not of the form FROM=TO, such as excited=happy")
        renamed[before] = after
    return renamed


@contextmanager
def _one_line_errors() -> Iterator[None]:
    debug = "--debug" in sys.argv[1:]
    try:
        yield
    except MMERError as error:
        if debug:
            raise
        typer.echo(f"mmer: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt as interruption:
        if debug:
            raise
        typer.echo(f"mmer: {interruption or 'interrupted'}", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def main() -> None:
    """Run the `mmer` command; an error a user can cause is one line and exit code 2."""
    with _one_line_errors():
        app()
