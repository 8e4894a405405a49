"""What `mmer predict` does: from paths to rows."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from mmer.errors import MMERError
from mmer.inference.inputs import Utterance, collect_inputs
from mmer.inference.output import Prediction, check_output, write_predictions
from mmer.inference.recognizer import EmotionRecognizer
from mmer.progress import counting


def predict_paths(
    model: Path,
    paths: Sequence[str],
    *,
    transcript: str | None = None,
    one_speaker: bool = False,
    transcription: str = "given",
    out: Path | None = None,
    batch_size: int = 16,
    device: str | None = None,
) -> int:
    """Predict the emotion of everything that `paths` name, and write a row for each recording.

    Errors and warnings go to standard error too, one line for each recording that has any.

    Args:
        model: a model folder.
        paths: see `collect_inputs`; none for a transcript alone.
        transcript: what is said, for one recording or none.
        one_speaker: all recordings are of one person.
        out: see `write_predictions`; null for standard output.
        transcription, batch_size, device: see `EmotionRecognizer`.

    Returns:
        How many recordings have no answer.

    Raises:
        MMERError: the model or the inputs cannot be found, `out` cannot be written, there is one transcript and
            several recordings, or neither.
    """
    utterances = collect_inputs(paths)
    if not paths:
        if transcript is None:
            raise MMERError("nothing to answer; name recordings, or give what is said with --transcript")
        utterances = [Utterance(None, utterance_id="transcript")]
    if transcript is not None:
        if len(utterances) != 1:
            raise MMERError(
                f"--transcript belongs to one recording and {len(utterances)} were given; "
                "put the transcripts of several into a corpus table"
            )
        utterances = [replace(utterances[0], transcript=transcript)]
    if one_speaker:
        utterances = [replace(utterance, speaker="the one speaker") for utterance in utterances]
    check_output(out)
    recognizer = EmotionRecognizer.from_pretrained(model, device, transcription)
    console = Console(stderr=True)
    with counting(console, "predicting", len(utterances)) as progress:
        predictions = recognizer.predict(utterances, batch_size=batch_size, progress=progress)
        written, errors = write_predictions(_reported(predictions, console), out, labels=recognizer.labels)
    if out is not None:
        failed = f", {errors} without an answer" if errors else ""
        console.print(
            f"{written} predictions in {out}{failed}", highlight=False, markup=False, soft_wrap=True
        )
    return errors


def _reported(predictions: Iterator[Prediction], console: Console) -> Iterator[Prediction]:
    for prediction in predictions:
        if prediction.error:
            console.print(f"mmer: {prediction.error}", highlight=False, markup=False, soft_wrap=True)
        elif prediction.warnings:
            line = f"mmer: {prediction.utterance_id}: {'; '.join(prediction.warnings)}"
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        yield prediction
