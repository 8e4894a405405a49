"""The `mmer` command: registration of all subcommands, with headings and examples."""

import os
from typing import Annotated

import typer

from mmer import __version__
from mmer.cli import corpus, evaluation, model, recordings, serve, training
from mmer.cli.app import Commands, Group, register
from mmer.memory import keep_freed_memory

app = typer.Typer(
    name="mmer",
    cls=Commands,
    help="Recognize emotion in speech from what is said and how it is said.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
corpus_app = typer.Typer(cls=Group, help="Read, check and transcribe corpora.", no_args_is_help=True)
model_app = typer.Typer(cls=Group, help="Export, import and check models.", no_args_is_help=True)

DATA, TRAIN, JUDGE, USE = "Data", "Train", "Judge", "Use"

app.add_typer(corpus_app, name="corpus", rich_help_panel=DATA)
for function, example in (
    (corpus.init, "mmer corpus init my-recordings"),
    (corpus.prepare, "mmer corpus prepare iemocap IEMOCAP_full_release -o iemocap.parquet"),
    (corpus.show, "mmer corpus show my-recordings"),
    (corpus.audit, "mmer corpus audit corpus.parquet --by speaker"),
    (
        corpus.transcribe,
        "mmer corpus transcribe corpus.parquet --with whisper:openai/whisper-base -o heard.parquet",
    ),
):
    register(corpus_app, function, example)
register(
    app,
    corpus.augment,
    "mmer augment corpus.parquet --speech world --text marian:en-de -o views",
    panel=DATA,
)

for function, example in (
    (training.recipes, "mmer recipes compact"),
    (training.train, "mmer train compact data.corpus=my-recordings protocol.test=anna -o my-run"),
    (training.crossval, "mmer crossval compact data.corpus=my-recordings -o folds"),
    (training.ablate, "mmer ablate compact data.corpus=my-recordings --rows text,speech,mmer -o ablation"),
    (training.adapt, "mmer adapt my-run/model my-recordings -o adapted"),
    (training.demo, "mmer demo"),
):
    register(app, function, example, panel=TRAIN)

for function, example in (
    (evaluation.evaluate, "mmer evaluate my-run/model more-recordings -o judged"),
    (evaluation.robustness, "mmer robustness my-run/model corpus.parquet --axes noise,words:0.2 -o robust"),
    (evaluation.calibrate, "mmer calibrate my-run/model corpus.parquet"),
    (evaluation.report, "mmer report my-run"),
    (evaluation.compare, "mmer compare baseline-run my-run"),
):
    register(app, function, example, panel=JUDGE)

for function, example in (
    (recordings.predict, "mmer predict my-run/model folder -o answers.csv"),
    (recordings.explain, 'mmer explain my-run/model clip.wav --transcript "I never said that!" -o why.png'),
    (recordings.timeline, "mmer timeline my-run/model call.wav --channel each -o call.json -o call.png"),
    (recordings.listen, "mmer listen my-run/model"),
    (recordings.score, "mmer score my-run/model archive -o scores"),
    (recordings.embed, "mmer embed my-run/model corpus.parquet -o embeddings.parquet"),
    (serve.serve, "mmer serve my-run/model port=8080 max_upload=50MB"),
):
    register(app, function, example, panel=USE)

register(app, model.models, "mmer models", panel=USE)
app.add_typer(model_app, name="model", rich_help_panel=USE)
for function, name, example in (
    (model.export_model, "export", "mmer model export my-run/model -o my-run/onnx"),
    (model.import_model, "import", "mmer model import OFFICIAL.pt -o official-model"),
    (model.check, "check", "mmer model check my-run/model"),
):
    register(model_app, function, example, name=name)

_DECODES_AHEAD = {
    "calibrate",
    "embed",
    "evaluate",
    "listen",
    "predict",
    "robustness",
    "score",
    "serve",
    "timeline",
}
"""Commands that decode the next recordings while the network computes."""


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"mmer {__version__}", flush=True)
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit."),
    ] = False,
) -> None:
    """Recognize emotion in speech from what is said and how it is said."""
    if ctx.invoked_subcommand in _DECODES_AHEAD:
        # PyTorch's threads otherwise spin while they wait, on the cores that decode. PyTorch reads this when imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        keep_freed_memory()


def main() -> None:
    """Run the `mmer` command; print a user's errors in one line and exit with 2."""
    app()
