"""The commands that say how far answers can be trusted: one small function for each."""

from pathlib import Path
from typing import Annotated

import typer

from mmer.cli.corpus import CorpusPath
from mmer.cli.options import BatchSize, Device, ModelFolder, Transcription
from mmer.display.terminal import messages, print_result, results
from mmer.errors import MMERError


def calibrate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder, such as RUN/model.")],
    corpus: CorpusPath,
    split: Annotated[
        str, typer.Option(help="Fit on this split: validation, test, or all for every utterance.")
    ] = "validation",
    on_training: Annotated[
        bool, typer.Option("--on-training", help="Fit on utterances that the model was trained on, too.")
    ] = False,
    batch_size: BatchSize = 16,
    device: Device = None,
) -> None:
    """Fit what makes probabilities mean what they say, on speakers that training did not hear; kept in MODEL."""
    from mmer.corpora.corpus import Corpus
    from mmer.display.progress import counting
    from mmer.evaluation.calibration.fit import calibrate as calibrate_model
    from mmer.evaluation.calibration.show import calibration_tables

    table = Corpus.read(corpus)
    with counting(messages(), "listening") as progress:
        calibration = calibrate_model(
            model,
            table,
            None if split == "all" else split,
            on_training=on_training,
            batch_size=batch_size,
            device=device,
            progress=progress,
        )
    results().print(calibration_tables(calibration))
    print_result(f"{model / 'calibration.json'} and {model / 'calibration.png'} written")


def explain(
    model: ModelFolder,
    clip: Annotated[
        Path | None, typer.Argument(metavar="[CLIP]", help="A recording; none for a transcript alone.")
    ] = None,
    transcript: Annotated[str | None, typer.Option(help="What is said.")] = None,
    other_words: Annotated[
        str | None,
        typer.Option("--other-words", help="What is put into the same voice; a neutral sentence by default."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A .png picture or a .json file; a table by default.")
    ] = None,
    transcription: Transcription = "given",
    device: Device = None,
) -> None:
    """Say why: what the answer owes to each word and moment, and what would have changed it."""
    from mmer.inference.explain.explain import explain as explain_utterance
    from mmer.inference.explain.explanation import check_target, explanation_tables, write
    from mmer.inference.inputs import Utterance
    from mmer.inference.recognizer import EmotionRecognizer

    if clip is None and transcript is None:
        raise MMERError("nothing to explain; name a recording, or give what is said with --transcript")
    check_target(out, [model, *([] if clip is None else [clip])])
    recognizer = EmotionRecognizer.from_pretrained(model, device, transcription)
    name = None if clip is not None else "transcript"
    utterance = Utterance(None if clip is None else str(clip), transcript, utterance_id=name)
    with messages().status("explaining"):
        explanation = explain_utterance(recognizer, utterance, other_words=other_words)
    if out is None:
        results().print(explanation_tables(explanation))
    else:
        write(explanation, out)
        print_result(out)


def doctor(
    model: ModelFolder,
    onnx: Annotated[
        Path | None, typer.Option("--onnx", help="A folder of mmer export, to compare with MODEL.")
    ] = None,
    device: Device = None,
) -> None:
    """Check that a model answers here as where it was made, however it is asked; exit code 1 if it does not."""
    from mmer.inference.doctor import check_table, examine

    checks = examine(model, exported=onnx, device=device)
    results().print(check_table(checks))
    if any(check.holds is False for check in checks):
        raise typer.Exit(1)


def robustness(
    model: ModelFolder,
    corpus: CorpusPath,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for robustness.json, a picture and the answers.")
    ],
    split: Annotated[
        str | None, typer.Option(help="Judge this split alone: train, validation or test.")
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="AXIS,AXIS", help="Some of noise, codec, loudness, length, words; all by default."
        ),
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Judge so many utterances, drawn at random; all by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    batch_size: BatchSize = 16,
    device: Device = None,
) -> None:
    """Judge a model on worse recordings and words; the same command again goes on after an interruption."""
    from mmer.corpora.corpus import Corpus
    from mmer.display.progress import counting
    from mmer.evaluation.robustness.robustness import measure, robustness_table

    with counting(messages(), "judging") as progress:
        result = measure(
            model,
            Corpus.read(corpus),
            out,
            split=split,
            axes=axes.split(",") if axes else None,
            sample=sample,
            seed=seed,
            batch_size=batch_size,
            device=device,
            progress=progress,
        )
    results().print(robustness_table(result))
    print_result(f"{out / 'robustness.json'} and {out / 'robustness.png'} written")


def add_trust_commands(app: typer.Typer) -> None:
    """Add these commands to `mmer`."""
    for command in (calibrate, explain, doctor, robustness):
        app.command()(command)
