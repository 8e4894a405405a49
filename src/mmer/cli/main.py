"""The `mmer` command: one small function for each sub-command."""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mmer.cli.augment import augment
from mmer.cli.corpus import CorpusPath, corpus_app
from mmer.cli.models import bundle, card, export
from mmer.cli.options import BatchSize, Device, ModelFolder, Transcription
from mmer.cli.recordings import listen, timeline
from mmer.cli.score import score
from mmer.cli.serve import serve
from mmer.cli.trust import add_trust_commands
from mmer.display.terminal import messages, print_result, results, tell, use_utf8
from mmer.errors import MMERError, is_out_of_memory, reason_of
from mmer.files.writing import check_not_input, check_output_file
from mmer.plain_text import shown

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What the system says of standard output that goes to a full disk, without the name of a file."""


@contextmanager
def _one_line_errors() -> Iterator[None]:
    debug = "--debug" in sys.argv[1:]
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon_output()
        sys.exit(141)
    except (MMERError, OSError) as error:
        _abandon_output()
        if debug:
            raise
        tell(f"mmer: {error if isinstance(error, MMERError) else _refusal(error)}")
        sys.exit(2)
    except KeyboardInterrupt as interruption:
        if debug:
            raise
        tell(f"mmer: {str(interruption) or 'interrupted'}")
        terminated = any(isinstance(each, _Terminated) for each in (interruption, interruption.__context__))
        sys.exit(143 if terminated else 130)
    except Exception as error:
        # A usage error, whose message typer prints, may repeat what a pattern of the shell found.
        if isinstance(message := getattr(error, "message", None), str):
            vars(error)["message"] = shown(message)
        elif is_out_of_memory(error) and not debug:
            _abandon_output()
            remedy = "a smaller --batch-size where the command has one, shorter recordings, or another device"
            tell(f"mmer: there is not enough memory ({reason_of(error)}); use {remedy}")
            sys.exit(2)
        raise


def _abandon_output() -> None:
    """Drop what standard output does not take, so that the end of the process does not try again."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())


def _refusal(error: OSError) -> str:
    """What the system refused, and of which file."""
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    what = "an output cannot be written" if error.errno in _FULL else "cannot go on"
    return f"{' and '.join(names) or what}: {error.strerror or error}"


class _Terminated(KeyboardInterrupt):
    """SIGTERM: what Ctrl-C does, with the exit code that says so."""


def _terminate(*_: object) -> None:
    raise _Terminated


class _Commands(TyperGroup):
    """Explains errors before typer sees them, which would say nothing of an interruption."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        use_utf8()
        return super().main(*arguments, **settings)

    def invoke(self, ctx: Any) -> Any:
        with _one_line_errors():
            return super().invoke(ctx)


app = typer.Typer(
    name="mmer",
    cls=_Commands,
    help="Speech emotion recognition from what is said and how it is said.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(corpus_app, name="corpus")
app.command()(augment)
app.command()(bundle)
app.command()(card)
app.command()(export)
app.command()(score)
app.command()(serve)
app.command()(timeline)
add_trust_commands(app)
app.command()(listen)


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


@app.command()
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="demo, compact, iemocap-paper, iemocap-official, iemocap-beyond, or a .yaml file."
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SETTING=VALUE]...", help="Such as data.corpus=corpus.parquet."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The run folder.")] = Path("run"),
) -> None:
    """Train a model; the same command again goes on after an interruption."""
    from mmer.recipe.schema import load_recipe
    from mmer.training.run import train as train_recipe

    _check_recipe(recipe, out)
    train_recipe(load_recipe(recipe, overrides or []), out)


@app.command()
def crossval(
    recipe: Annotated[
        str,
        typer.Argument(
            help="demo, compact, iemocap-paper, iemocap-official, iemocap-beyond, or a .yaml file."
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SETTING=VALUE]...", help="Such as protocol.folds=leave-one-out."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The folder of the cross-validation.")] = Path(
        "crossval"
    ),
    folds: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Train these folds alone; all by default.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Folds trained at a time.")] = 1,
) -> None:
    """Train and test every fold; the same command again goes on after an interruption."""
    from mmer.recipe.schema import load_recipe
    from mmer.training.crossval import cross_validate

    _check_recipe(recipe, out)
    cross_validate(load_recipe(recipe, overrides or []), out, folds.split(",") if folds else None, jobs)


@app.command()
def baseline(
    name: Annotated[str, typer.Argument(metavar="NAME", help="majority, or egemaps: openSMILE and an SVM.")],
    recipe: Annotated[
        str, typer.Argument(help="The recipe whose folds are tested; its model and training are not read.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SETTING=VALUE]...", help="Such as data.corpus=corpus.parquet."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The folder, like that of a cross-validation.")] = Path(
        "baseline"
    ),
    per_speaker: Annotated[
        bool, typer.Option("--per-speaker", help="Standardize over all clips of a speaker, tested ones too.")
    ] = False,
    features: Annotated[
        Path | None, typer.Option(help="A .parquet file that keeps openSMILE's features for other runs.")
    ] = None,
) -> None:
    """Judge a baseline on the folds of `mmer crossval`: the most frequent emotion, or eGeMAPS and an SVM."""
    from mmer.recipe.schema import load_recipe
    from mmer.training.baseline_runs import baseline_of, cross_validate_baseline

    chosen = baseline_of(name)
    _check_recipe(recipe, out)
    settings = load_recipe(recipe, overrides or [])
    cross_validate_baseline(chosen, settings, out, per_speaker=per_speaker, cache=features)


@app.command()
def ablate(
    recipe: Annotated[
        str,
        typer.Argument(
            help="demo, compact, iemocap-paper, iemocap-official, iemocap-beyond, or a .yaml file."
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SETTING=VALUE]...", help="Such as protocol.folds=leave-one-out."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The folder of the ablation.")] = Path("ablation"),
    rows: Annotated[
        str | None, typer.Option(metavar="ROW,ROW", help="Such as text,speech,mmer,no-ctc; all by default.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Folds trained at a time.")] = 1,
) -> None:
    """Train the paper's comparisons: each side alone, naive fusion, and MMER without each of its parts."""
    from mmer.training.ablation import ablate as ablate_recipe

    ablate_recipe(recipe, overrides or [], out, rows.split(",") if rows else None, jobs)


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
    transcripts: Annotated[
        str, typer.Option(help="What the model is given: gold, none, or wer:0.2 for so many word errors.")
    ] = "gold",
    transcription: Transcription = "given",
    batch_size: BatchSize = 16,
    device: Device = None,
) -> None:
    """Judge a model on labeled utterances."""
    from mmer.corpora.corpus import Corpus
    from mmer.display.progress import counting
    from mmer.evaluation.evaluate import evaluate as evaluate_model
    from mmer.evaluation.show import figure_tables

    table = Corpus.read(corpus)
    for note in table.notes:
        tell(f"note: {note}")
    if len(table.emotions) == 1:
        tell(
            f"warning: every emotion in {corpus} is {table.emotions[0]!r}; figures of one emotion say little",
            style="yellow",
        )
    with counting(messages(), "judging") as progress:
        figures = evaluate_model(
            model,
            table,
            split,
            out,
            label_map=_renamed(label_map or []),
            transcripts=transcripts,
            transcription=transcription,
            batch_size=batch_size,
            device=device,
            progress=progress,
        )
    results().print(figure_tables(figures))


@app.command()
def report(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a finished run or cross-validation.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for report.html and tables/; RUN/report by default.")
    ] = None,
    audio: Annotated[
        bool, typer.Option("--audio", help="Put the recordings of the most confident mistakes into the page.")
    ] = False,
) -> None:
    """Write a page about a run: protocol, audit, figures with intervals, pictures; tables as LaTeX and Markdown."""
    from mmer.evaluation.report.page import write_report

    print_result(write_report(run, out, audio=audio))


@app.command()
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN...",
            help="Run folders, tables of predictions or ..._predict.txt of s3prl; the first is the baseline.",
        ),
    ],
    figure: Annotated[
        str, typer.Option(help="accuracy, balanced_accuracy, macro_f1, weighted_f1 or recall_EMOTION.")
    ] = "balanced_accuracy",
    cluster: Annotated[
        str, typer.Option(help="Column whose values are resampled, such as speaker or session.")
    ] = "speaker",
    common: Annotated[
        bool, typer.Option("--common", help="Leave out utterances that not all runs answered.")
    ] = False,
    label_map: Annotated[
        list[str] | None,
        typer.Option("--rename", metavar="FROM=TO", help="An emotion to rename first; repeatable."),
    ] = None,
    id_column: Annotated[str, typer.Option(help="Of tables.")] = "utterance_id",
    truth_column: Annotated[str, typer.Option(help="Of tables.")] = "emotion",
    prediction_column: Annotated[str, typer.Option(help="Of tables.")] = "predicted",
    speaker_column: Annotated[str, typer.Option(help="Of tables; may be missing.")] = "speaker",
    json: Annotated[Path | None, typer.Option(help="Write everything to this file.")] = None,
) -> None:
    """Compare runs on the same utterances: intervals, paired tests, corrected for several runs."""
    from mmer.evaluation.comparison import compare as compare_runs
    from mmer.evaluation.prediction_files import read_runs

    if json:
        check_output_file(json, runs)
    tables = read_runs(
        runs,
        _renamed(label_map or []),
        id_column=id_column,
        truth_column=truth_column,
        prediction_column=prediction_column,
        speaker_column=speaker_column,
    )
    found = compare_runs(tables, figure, cluster, common=common)
    if json:
        found.write(json)
    results().print(found)


@app.command()
def predict(
    model: ModelFolder,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH]...",
            help="Audio or video files, folders, patterns, a corpus table, or - for one file on standard input.",
        ),
    ] = None,
    transcript: Annotated[
        str | None,
        typer.Option(
            help="What is said in the one recording given; without a recording it is answered alone."
        ),
    ] = None,
    channel: Annotated[
        str, typer.Option(help="mix, left, right, a number from 1, or each: an answer for every channel.")
    ] = "mix",
    one_speaker: Annotated[
        bool,
        typer.Option(
            "--one-speaker", help="All recordings are of one person, for models normalized per speaker."
        ),
    ] = False,
    transcription: Transcription = "given",
    min_confidence: Annotated[
        float | None,
        typer.Option("--min-confidence", help="Mark answers below this probability as abstained."),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            "--coverage", help="Give label sets that hold the true emotion this often, such as 0.9."
        ),
    ] = None,
    by_class: Annotated[
        bool, typer.Option("--by-class", help="Hold the coverage for each emotion, not only on average.")
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
        paths or [],
        transcript=transcript,
        channel=channel,
        one_speaker=one_speaker,
        transcription=transcription,
        min_confidence=min_confidence,
        coverage=coverage,
        by_class=by_class,
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
    print_result(f"model folder written: {out}")


def _check_recipe(recipe: str, out: Path) -> None:
    """Refuse to write the complete recipe over a hand-written one that a run is to begin from."""
    if not any((out / name).exists() for name in ("splits.json", "folds.json")):
        check_not_input(out / "recipe.yaml", [recipe])


def _renamed(pairs: list[str]) -> dict[str, str]:
    renamed = {}
    for pair in pairs:
        before, equals, after = pair.partition("=")
        if not equals or not before or not after:
            raise MMERError(f"--rename {pair!r} is not of the form FROM=TO, such as excited=happy")
        renamed[before] = after
    return renamed


def main() -> None:
    """Run the `mmer` command; an error a user can cause is one line and exit code 2."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    finally:
        signal.signal(signal.SIGTERM, before)
