"""The command `mmer predict`: from paths to rows."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from mmer.display.progress import counting
from mmer.display.terminal import (
    PlainConsole,
    ResultFormat,
    check_format,
    messages,
    result_format,
    results,
    tell,
)
from mmer.errors import CodedWarning, Function, MMERError, Parameter
from mmer.inference.inputs import Utterance, collect_inputs, in_channels
from mmer.inference.known_speakers import SPEAKER_NOT_USED
from mmer.inference.prediction import AnswerFault, Prediction, check_output, write_each, write_predictions
from mmer.inference.prediction_table import PredictionTable
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.transcription import TRANSCRIPT_NOT_USED
from mmer.inference.trust.abstention import Abstention
from mmer.plain_text import counted


def predict_paths(
    model: Path,
    paths: Sequence[str],
    *,
    transcript: str | None = None,
    channel: str = "mix",
    one_speaker: bool = False,
    transcription: str = "given",
    min_confidence: float | None = None,
    coverage: float | None = None,
    by_class: bool = False,
    out: Path | None = None,
    format: ResultFormat | None = None,
    batch_size: int = 16,
    device: str | None = None,
) -> int:
    """Predict the emotion of everything that `paths` name, and write a row for each recording.

    Errors and warnings go to standard error too, one line for each recording that has any, unless a table shows them.

    Args:
        model: a model folder.
        paths: see `collect_inputs`; none for a transcript alone.
        transcript: what is said, for one recording or none.
        channel: see `in_channels`.
        one_speaker: all recordings are of one person.
        min_confidence, coverage, by_class: see `Abstention`.
        out: see `write_predictions`; None for standard output.
        format: of standard output, see `result_format`.
        transcription, batch_size, device: see `EmotionRecognizer`.

    Returns:
        How many recordings have no answer.

    Raises:
        MMERError: the model or the inputs cannot be found, `out` cannot be written or comes with a format, there is
            one transcript and several recordings or channels, or neither; or, when all is written, a recording is
            too long for one answer; or `min_confidence` or `coverage` is given to a model of dimensions.
    """
    check_format(format, out)
    console = messages()
    found = collect_inputs(paths, partial(tell, console=console))
    if not paths:
        if transcript is None:
            raise MMERError(
                "nothing to answer; name recordings, or give what is said with ", Parameter("transcript")
            )
        found = [Utterance(None, utterance_id="transcript")]
    if transcript is not None:
        if len(found) != 1:
            raise MMERError(
                Parameter("transcript"),
                f" belongs to one recording and {len(found)} were given; "
                "put the transcripts of several into a corpus table",
            )
        found = [replace(found[0], transcript=transcript)]
    utterances = in_channels(found, channel)
    if channel == "each" and transcription == "given":
        _check_transcripts(utterances)
    if one_speaker:
        utterances = [replace(utterance, speaker="the one speaker") for utterance in utterances]
    check_output(out, [model, *_files(paths, utterances)])
    recognizer = EmotionRecognizer.from_pretrained(model, device, transcription)
    _check_confidence(recognizer, {"min_confidence": min_confidence, "coverage": coverage})
    if one_speaker and not recognizer.processor.per_speaker:
        tell(f"mmer: {SPEAKER_NOT_USED}", console)
    if transcript is not None and not recognizer.processor.uses_text:
        tell(f"mmer: {TRANSCRIPT_NOT_USED}", console)
    abstain = Abstention(recognizer.calibration, min_confidence, coverage, by_class)
    for note in abstain.notes:
        tell(f"mmer: {note}", console)
    # Answers on the terminal show how far it is, and a bar would be drawn into them.
    bar = PlainConsole(quiet=True) if out is None and sys.stdout.isatty() else console
    with counting(bar, "predicting", len(utterances)) as progress:
        too_long: list[str] = []
        predictions = _noting_long(
            map(abstain, recognizer.predict(utterances, batch_size=batch_size, progress=progress)), too_long
        )
        printed = result_format(format)
        if out is None and printed == "table":
            names = [utterance.utterance_id or utterance.path or "" for utterance in utterances]
            table = PredictionTable(results(), names, recognizer.labels, ranked=len(names) == 1)
            _, errors = write_each(predictions, table.add)
            _refuse_long(too_long)
            return errors
        told = _reported(predictions, console)
        lines = "csv" if printed == "csv" else "jsonl"
        written, errors = write_predictions(
            told, out, labels=recognizer.labels, dimensions=recognizer.dimensions, format=lines
        )
    if out is not None:
        failed = f", {errors} without an answer" if errors else ""
        tell(f"{counted(written, 'prediction')} in {out}{failed}", console)
    _refuse_long(too_long)
    return errors


def _files(paths: Sequence[str], utterances: Sequence[Utterance]) -> list[str]:
    """List the files that are read: recordings, tables and the tables of folders."""
    named, tables = [path for path in paths if os.path.isfile(path)], []
    if folders := [path for path in paths if os.path.isdir(path)]:
        from mmer.corpora.audio_folders import metadata_files  # imports pandas, which a file does not need

        tables = [str(file) for folder in folders for file in metadata_files(Path(folder))]
    return [*named, *tables, *(utterance.path for utterance in utterances if utterance.path)]


def _check_transcripts(utterances: Sequence[Utterance]) -> None:
    """Refuse a transcript for several channels, since it does not say what was said in each."""
    for utterance in utterances:
        if utterance.channel != "mix" and utterance.transcript is not None:
            raise MMERError(
                f"{utterance.utterance_id}: its transcript is of all channels together and ",
                Parameter("channel", "each"),
                " asks about one by one; give ",
                Parameter("transcription", "none"),
                " or whisper:NAME, or ",
                Parameter("channel", "left"),
                " or right",
            )


def _check_confidence(recognizer: EmotionRecognizer, asked: Mapping[str, float | None]) -> None:
    """Refuse what asks about the probabilities of emotions, for a model that answers dimensions."""
    for name, value in asked.items():
        if value is not None and recognizer.dimensions:
            raise MMERError(
                Parameter(name),
                f" is about the probabilities of emotions, and this model answers {', '.join(recognizer.dimensions)}; "
                "leave it out",
            )


def _reported(predictions: Iterator[Prediction], console: Console) -> Iterator[Prediction]:
    for prediction in predictions:
        if prediction.error:
            if not _is_too_long(prediction):  # of which `_refuse_long` says it
                tell(f"mmer: {prediction.error}", console)
        elif prediction.warnings:
            tell(f"mmer: {prediction.utterance_id}: {'; '.join(prediction.warnings)}", console)
        yield prediction


def _is_too_long(prediction: Prediction) -> bool:
    return isinstance(prediction.error, CodedWarning) and prediction.error.fault is AnswerFault.TOO_LONG


def _noting_long(predictions: Iterable[Prediction], too_long: list[str]) -> Iterator[Prediction]:
    """Yield predictions, and collect the errors of the recordings that are too long."""
    for prediction in predictions:
        if prediction.error is not None and _is_too_long(prediction):
            too_long.append(prediction.error)
        yield prediction


def _refuse_long(errors: Sequence[str]) -> None:
    """Say of recordings that are too long what answers them.

    Raises:
        MMERError: there are some.
    """
    if errors:
        others = counted(len(errors) - 1, "other recording", "is", "are")
        more = f"; {others} too long too" if len(errors) > 1 else ""
        raise MMERError(errors[0], " (", Function("timeline", ("MODEL", "RECORDING")), f"){more}")
