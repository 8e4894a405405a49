"""Predictions, and the files that hold them."""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from mmer.errors import MMERError
from mmer.files.writing import check_output_file, writing
from mmer.inference.notebook import bars, card, line, player
from mmer.plain_text import counted, json_text, one_line, valid

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, str | float | bool | None]
"""One prediction: the value of each column of a table."""

ROWS_PER_GROUP = 1024


class AnswerFault(StrEnum):
    """Reasons why an answer may be less reliable, beside those of `AudioFault`."""

    SHORT = "short"
    NO_TRANSCRIPT = "no transcript"
    UNUSABLE_CTC_TRANSCRIPT = "unusable CTC transcript"
    UNKNOWN_SPEAKER = "unknown speaker"
    NO_LABEL_SET = "no label set"
    OUT_OF_DISTRIBUTION = "out of distribution"
    TOO_LONG = "too long"


@dataclass(slots=True, kw_only=True)
class Prediction:
    """The answer for one utterance.

    Attributes:
        utterance_id: name of the utterance.
        audio_path: path of its file; None for bytes, samples and text alone.
        start, end: seconds; the part of the file that was read. None for the beginning and the end of the file.
        channel: of the file: `mix` (all channels), `left`, `right` or a number from 1.
        speaker: name of the speaker; None if unknown.
        label: the most probable emotion; None if there is an error, or the model answers `dimensions`.
        probabilities: probability of every emotion, adding up to 1; None if there is an error.
        dimensions: numbers that the model answers in place of an emotion, such as `arousal`, on its authors' scale
            from 0 to 1, which an answer may leave a little; `label` and `probabilities` are then None. None for a
            model that answers emotions.
        transcript: the transcript that the model read.
        transcript_source: `given` by the caller, recognized by `ctc` or `whisper:NAME`, or `none` if there was no
            transcript or an empty one.
        duration: seconds of sound; None if no sound was read.
        alone: probabilities of every emotion from `speech` alone and from `text` alone; None unless the utterance has
            both and the model has missing-modality embeddings for either.
        contributions: contributions of `speech` and of `text`, -1 to 1: the probability of `label` minus its
            probability without this modality. None for each if `alone` is None.
        condition: modalities behind the answer: `both`, `speech` or `text`. A model that uses both and has no
            missing-modality embeddings always answers from `both`, without a transcript from an empty one.
        label_set: emotions that include the true one with the requested coverage, most probable first; None unless
            requested.
        abstained: whether the confidence is below the requested one; `label` is then an unreliable guess.
        warnings: reasons why the answer may be less reliable, one line each; those of mmer are `CodedWarning`s.
        error: the reason why there is no answer, in one line; a `CodedWarning` where the recording is too long.
    """

    utterance_id: str
    audio_path: str | None = None
    start: float | None = None
    end: float | None = None
    channel: str = "mix"
    speaker: str | None = None
    label: str | None = None
    probabilities: dict[str, float] | None = None
    dimensions: dict[str, float] | None = None
    transcript: str | None = None
    transcript_source: str = "none"
    duration: float | None = None
    alone: dict[str, dict[str, float]] | None = None
    contributions: dict[str, float | None] = field(default_factory=lambda: {"speech": None, "text": None})
    condition: str = "both"
    label_set: list[str] | None = None
    abstained: bool = False
    warnings: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def confidence(self) -> float | None:
        """Probability of `label`, 0-1."""
        return None if self.probabilities is None or self.label is None else self.probabilities[self.label]

    @property
    def answer(self) -> str:
        """The emotion and its confidence, the dimensions, or the reason why there is no answer, in one line."""
        if self.dimensions is not None:
            return ", ".join(f"{name} {value:z.2f}" for name, value in self.dimensions.items())
        if self.label is None or self.confidence is None:
            return f"no answer: {self.error}"
        return f"{self.label} {self.confidence:.0%}"

    @property
    def ranking(self) -> list[tuple[str, float]]:
        """Return the emotions with their probabilities, most probable first."""
        return sorted((self.probabilities or {}).items(), key=lambda item: item[1], reverse=True)

    def add_alone(self, speech: dict[str, float], text: dict[str, float]) -> None:
        """Fill in `alone` and `contributions`.

        Args:
            speech: probability of every emotion from speech alone.
            text: probability of every emotion from text alone.
        """
        assert self.label is not None
        assert self.confidence is not None
        self.alone = {"speech": speech, "text": text}
        self.contributions = {
            "speech": self.confidence - text[self.label],
            "text": self.confidence - speech[self.label],
        }

    def to_dict(self) -> dict[str, Any]:
        """Convert all attributes to what JSON can hold; `valid` escapes file names that are not UTF-8."""
        return {
            name: valid(value) if isinstance(value, str) else value for name, value in asdict(self).items()
        }

    def to_row(self, labels: Sequence[str], dimensions: Sequence[str] = ()) -> Row:
        """Convert the attributes to a row of a table.

        Each of `labels` has a column with its probability, and each of `dimensions` one with its value. Warnings and
        label sets are joined by `; `. `contribution_speech` and `contribution_text` hold the contributions,
        `label_speech_alone` and `label_text_alone` the most probable emotions of `alone`. `valid` escapes file names
        that are not UTF-8.
        """
        probabilities, alone = self.probabilities or {}, self.alone or {}
        values = self.dimensions or {}
        row = {
            "utterance_id": self.utterance_id,
            "audio_path": self.audio_path,
            "start": self.start,
            "end": self.end,
            "channel": self.channel,
            "speaker": self.speaker,
            "label": self.label,
            "confidence": self.confidence,
            **{probability_column(label): probabilities.get(label) for label in labels},
            **{dimension_column(name): values.get(name) for name in dimensions},
            "transcript": self.transcript,
            "transcript_source": self.transcript_source,
            "duration": self.duration,
            **{f"contribution_{side}": value for side, value in self.contributions.items()},
            **{f"label_{side}_alone": _most_probable(alone.get(side)) for side in ("speech", "text")},
            "label_set": None if self.label_set is None else "; ".join(self.label_set),
            "abstained": self.abstained,
            "warnings": "; ".join(self.warnings),
            "error": self.error,
        }
        return {name: valid(value) if isinstance(value, str) else value for name, value in row.items()}

    def _repr_html_(self) -> str:
        answer = bars(self.ranking) if self.probabilities is not None else line(self.answer, "em")
        sound = player(self.audio_path, self.start, self.end, self.channel)
        warnings = [line(warning, "small") for warning in self.warnings]
        return card(self.utterance_id, [sound, line(self.transcript or "", "q"), answer, *warnings])

    def __repr__(self) -> str:
        if self.error is not None:
            return f"Prediction({self.utterance_id}: error: {self.error})"
        values = self.ranking if self.dimensions is None else self.dimensions.items()
        answer = ", ".join(f"{name} {value:z.3f}" for name, value in values)
        if self.label_set is not None:
            answer += f"; one of {', '.join(self.label_set)}"
        if self.abstained:
            answer = f"abstained; {answer}"
        return f"Prediction({self.utterance_id}: {'; '.join([answer, *self.warnings])})"


def _most_probable(probabilities: dict[str, float] | None) -> str | None:
    return max(probabilities, key=lambda label: probabilities[label]) if probabilities else None


def probability_column(label: str) -> str:
    """Name the column with the probability of an emotion."""
    return f"probability_{label}"


def dimension_column(name: str) -> str:
    """Name the column with the value of a dimension."""
    return f"dimension_{name}"


def predictions_frame(
    predictions: Iterable[Prediction],
    labels: Sequence[str] | None = None,
    dimensions: Sequence[str] | None = None,
) -> "pd.DataFrame":
    """Make a table with a row for each prediction.

    Args:
        predictions: in the order of the rows.
        labels: emotions of the model, in the order of their columns. Default: those of the predictions.
        dimensions: of the model; likewise.

    Returns:
        The columns of `Prediction.to_row`; a missing number is NaN, a missing text None.
    """
    predictions = list(predictions)
    if labels is None:
        labels = list(dict.fromkeys(label for each in predictions for label in each.probabilities or {}))
    if dimensions is None:
        dimensions = list(dict.fromkeys(name for each in predictions for name in each.dimensions or {}))
    rows = [each.to_row(labels, dimensions) for each in predictions]
    return pa.Table.from_pylist(rows, row_schema(labels, dimensions)).to_pandas()


def corpus_frame(rows: Iterable[Row], labels: Sequence[str], dimensions: Sequence[str]) -> "pd.DataFrame":
    """Make the table of `EmotionRecognizer.predict_corpus`.

    Args:
        rows: of `Prediction.to_row`.
        labels, dimensions: of the model, in the order of their columns.
    """
    import pandas as pd  # here, since recordings without a table do not need it

    probabilities = [*map(probability_column, labels), *map(dimension_column, dimensions)]
    contributions = ["contribution_speech", "contribution_text"]
    alone = ["label_speech_alone", "label_text_alone"]
    columns = [
        *("utterance_id", "label", *probabilities),
        *("transcript", "transcript_source", "duration", *contributions, *alone, "warnings", "error"),
    ]
    names = {name: name.replace("label", "predicted") for name in ("label", *alone)}
    table = pd.DataFrame(list(rows), columns=columns).rename(columns={**names, "transcript": "text"})
    return table.astype(dict.fromkeys([*probabilities, "duration", *contributions], "float64"))


def check_output(path: str | Path | None, inputs: Iterable[str | Path] = ()) -> None:
    """Check that `write_predictions` can write a file, before predictions are computed.

    Args:
        path: see `write_predictions`.
        inputs: files and folders that are read and must not be overwritten.

    Raises:
        MMERError: the suffix is none of `.jsonl`, `.csv` and `.parquet`, or the file cannot be written or is an input.
    """
    if path is None:
        return
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        raise MMERError(
            f"cannot write predictions to {path}: its name must end in one of {', '.join(WRITERS)}"
        )
    check_output_file(path, inputs)


def write_predictions(
    predictions: Iterable[Prediction],
    path: str | Path | None,
    *,
    labels: Sequence[str],
    dimensions: Sequence[str] = (),
    format: Literal["jsonl", "csv"] = "jsonl",
) -> tuple[int, int]:
    """Write predictions as they arrive.

    The file appears when it is complete. Until then, and after an interruption, the predictions are in a file of the
    same name that ends in `.part`. JSON lines and CSV hold each prediction there at once.

    Args:
        predictions: iterated over once.
        path: `.jsonl` (one JSON object a line), `.csv` or `.parquet`; None for standard output.
        labels, dimensions: of the model, in the order of their columns.
        format: of standard output.

    Returns:
        The number of predictions written, and the number of errors among them.

    Raises:
        MMERError: the file has another suffix or cannot be written, or another process is writing it. Nothing has
            been taken from `predictions` for a wrong suffix or place.
        KeyboardInterrupt: the user interrupted; the message says where the predictions are.
    """
    check_output(path)
    if path is None:
        rows = _json_lines if format == "jsonl" else _csv_rows
        return write_each(predictions, rows(sys.stdout, labels, dimensions))
    remaining = iter(predictions)
    first = list(islice(remaining, 1))  # an interruption before it leaves no file
    path = Path(path)
    open_writer = WRITERS[path.suffix.lower()]
    with writing(path, keep=True) as part, open_writer(part, labels, dimensions) as write:
        return write_each(chain(first, remaining), write, f"in {part}")


def write_each(
    predictions: Iterable[Prediction],
    write: Callable[[Prediction], object],
    place: str = "on standard output",
) -> tuple[int, int]:
    """Write predictions as they arrive.

    Args:
        predictions: iterated over once.
        write: called with each.
        place: where an interruption leaves them, as in "in a.csv".

    Returns:
        The number of predictions written, and the number of errors among them.

    Raises:
        KeyboardInterrupt: the user interrupted; the message names `place` if predictions are there.
    """
    written = errors = 0
    try:
        for prediction in predictions:
            write(prediction)
            written += 1
            errors += prediction.error is not None
    except KeyboardInterrupt:
        if not written:
            raise
        raise KeyboardInterrupt(
            f"interrupted: {counted(written, 'prediction', 'is', 'are')} {place}"
        ) from None
    return written, errors


def _json_lines(
    file: TextIO, labels: Sequence[str], dimensions: Sequence[str]
) -> Callable[[Prediction], object]:
    return lambda prediction: print(json_text(prediction.to_dict()), file=file, flush=True)


def _csv_rows(
    file: TextIO, labels: Sequence[str], dimensions: Sequence[str]
) -> Callable[[Prediction], object]:
    write = csv_rows(file, row_schema(labels, dimensions).names)
    return lambda prediction: write(prediction.to_row(labels, dimensions))


def csv_rows(file: TextIO, columns: Sequence[str]) -> Callable[[Row], object]:
    """Write the head of a CSV file, and return what writes a row; a terminal gets text that is safe to show."""
    table = csv.DictWriter(file, columns)
    table.writeheader()
    safe = _on_terminal if file.isatty() else Row
    return lambda row: table.writerow(safe(row)) and file.flush()


def _on_terminal(row: Row) -> Row:
    return {name: one_line(value) if isinstance(value, str) else value for name, value in row.items()}


@contextmanager
def _text_writer(
    rows: Callable[..., Callable[[Prediction], object]],
    path: Path,
    labels: Sequence[str],
    dimensions: Sequence[str],
) -> Iterator[Callable[[Prediction], object]]:
    with path.open("w", encoding="utf-8", newline="") as file:
        yield rows(file, labels, dimensions)


@contextmanager
def _parquet_writer(
    path: Path, labels: Sequence[str], dimensions: Sequence[str]
) -> Iterator[Callable[[Prediction], object]]:
    schema, rows = row_schema(labels, dimensions), []

    def write_group() -> None:
        table.write_table(pa.Table.from_pylist(rows, schema))
        rows.clear()

    def write(prediction: Prediction) -> None:
        rows.append(prediction.to_row(labels, dimensions))
        if len(rows) == ROWS_PER_GROUP:
            write_group()

    with path.open("wb") as file, pq.ParquetWriter(file, schema) as table:
        try:
            yield write
        finally:
            write_group()


WRITERS = {
    ".jsonl": partial(_text_writer, _json_lines),
    ".csv": partial(_text_writer, _csv_rows),
    ".parquet": _parquet_writer,
}


def row_schema(labels: Sequence[str], dimensions: Sequence[str] = ()) -> pa.Schema:
    """Return the names and types of the columns of `Prediction.to_row`."""
    numbers = {
        "start",
        "end",
        "duration",
        "confidence",
        "contribution_speech",
        "contribution_text",
        *map(probability_column, labels),
        *map(dimension_column, dimensions),
    }
    names = Prediction(utterance_id="").to_row(labels, dimensions)
    types = dict.fromkeys(numbers, pa.float64()) | {"abstained": pa.bool_()}
    return pa.schema([(name, types.get(name, pa.string())) for name in names])
