"""Commands for evaluation: `mmer evaluate`, `robustness`, `calibrate`, `report` and `compare`."""

from pathlib import Path
from typing import Annotated

import typer

from mmer.cli.options import (
    MODEL_HELP,
    BatchSize,
    CorpusPath,
    Device,
    ModelFolder,
    ModelLabels,
    OutFolder,
    OutJson,
    Renames,
    Seed,
    Split,
    Transcription,
    out_option,
    renames,
)
from mmer.display.terminal import messages, print_result, results, tell


def evaluate(
    model: ModelFolder,
    corpus: CorpusPath,
    split: Split = "all",
    label_map: Renames = None,
    out: Annotated[Path | None, out_option("The folder to write; none by default.")] = None,
    transcripts: Annotated[str, typer.Option(hidden=True)] = "gold",
    transcription: Transcription = "given",
    batch_size: BatchSize = 16,
    model_labels: ModelLabels = None,
    device: Device = None,
) -> None:
    """Evaluate a model on labeled utterances; with --out, the same command again continues after an interruption."""
    from mmer.corpora.corpus import Corpus
    from mmer.display.progress import counting
    from mmer.evaluation.evaluate import evaluate as evaluate_model
    from mmer.evaluation.terminal_tables import figure_tables
    from mmer.evaluation.training_overlap import in_training
    from mmer.evaluation.verdict import judge_figures, verdict_text

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
            _one(split),
            out,
            label_map=renames(label_map),
            transcripts=transcripts,
            transcription=transcription,
            batch_size=batch_size,
            device=device,
            progress=progress,
        )
    results().print(figure_tables(figures))
    results().print(
        verdict_text(
            judge_figures(
                figures,
                figures.intervals["balanced_accuracy"],
                modalities=figures.modalities,
                in_training=in_training(figures.in_training),
            )
        )
    )


def robustness(
    model: ModelFolder,
    corpus: CorpusPath,
    out: OutFolder,
    split: Split = "all",
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="AXIS,AXIS",
            help="Some of noise, codec, loudness, length, silence and words, each with an optional level, such as "
            "words:0.2 for a word error rate of 0.2, or words:none; all by default.",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="Number of utterances to judge, drawn at random; all by default."),
    ] = None,
    seed: Seed = 0,
    model_labels: ModelLabels = None,
    device: Device = None,
) -> None:
    """Evaluate a model on degraded recordings and words; the same command again continues after an interruption."""
    from mmer.corpora.corpus import Corpus
    from mmer.display.progress import counting
    from mmer.evaluation.robustness.robustness import measure, robustness_table

    with counting(messages(), "judging") as progress:
        result = measure(
            model,
            Corpus.read(corpus),
            out,
            split=_one(split),
            axes=axes.split(",") if axes else None,
            sample=sample,
            seed=seed,
            device=device,
            progress=progress,
        )
    results().print(robustness_table(result))
    print_result(f"{out / 'robustness.json'} and {out / 'robustness.png'} written")


def calibrate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    corpus: CorpusPath,
    split: Split = "validation",
    on_training: Annotated[
        bool, typer.Option("--on-training", help="Also fit on utterances that the model was trained on.")
    ] = False,
    out: Annotated[
        Path | None,
        out_option(
            "The folder to write, which is then a model; by default, the calibration is stored in MODEL."
        ),
    ] = None,
    model_labels: ModelLabels = None,
    device: Device = None,
) -> None:
    """Calibrate a model's probabilities on speakers outside its training data, and weigh speech against text.

    The same command again continues after an interruption.
    """
    from mmer.corpora.corpus import Corpus
    from mmer.display.progress import counting
    from mmer.evaluation.calibration.calibrate import calibrate as calibrate_model
    from mmer.evaluation.terminal_tables import calibration_tables
    from mmer.inference.backends.composition import read_composition

    table = Corpus.read(corpus)
    with counting(messages(), "listening") as progress:
        calibration = calibrate_model(
            model,
            table,
            _one(split),
            out=out,
            label_map=model_labels,
            on_training=on_training,
            device=device,
            progress=progress,
        )
    results().print(calibration_tables(calibration))
    folder = out or model
    if (fused := read_composition(folder)) is not None and fused.fit is not None:
        print_result(fused.fitted)
    print_result(f"{folder / 'calibration.json'} and {folder / 'calibration.png'} written")


def report(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a finished run or cross-validation.")
    ],
    out: Annotated[Path | None, out_option("The folder to write; RUN/report by default.")] = None,
    audio: Annotated[
        bool, typer.Option("--audio", help="Embed the recordings of the most confident mistakes.")
    ] = False,
) -> None:
    """Write an HTML report of a run, its tables as LaTeX and Markdown, and the model card."""
    from mmer.errors import CheckpointError
    from mmer.evaluation.model_card import write_model_card
    from mmer.evaluation.report.page import write_report

    print_result(write_report(run, out, audio=audio))
    if (run / "model").is_dir():
        try:
            print_result(write_model_card(run))
        except CheckpointError as error:
            tell(f"note: no model card is written: {error}")


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
    label_map: Renames = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN",
            help="Name of a table's column where it is not utterance_id, emotion, predicted or speaker, such as "
            "predicted=answer; repeatable.",
        ),
    ] = None,
    out: OutJson = None,
) -> None:
    """Compare runs on the same utterances, with intervals and paired tests corrected for several runs."""
    from mmer.evaluation.comparison import compare as compare_runs
    from mmer.evaluation.prediction_files import Columns, read_runs
    from mmer.files.writing import check_output_file
    from mmer.recipe.parsing import read_settings

    if out:
        check_output_file(out, runs)
    columns = read_settings(Columns, "", "columns", [(f"column {each!r}", each) for each in column or []])
    tables = read_runs(
        runs,
        renames(label_map),
        id_column=columns.utterance_id,
        truth_column=columns.emotion,
        prediction_column=columns.predicted,
        speaker_column=columns.speaker,
    )
    found = compare_runs(tables, figure, cluster, common=common)
    if out:
        found.write(out)
    results().print(found)


def _one(split: str) -> str | None:
    return None if split == "all" else split
