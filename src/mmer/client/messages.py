"""What a client sends to a service, and how it reads the answers."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import BaseModel, ValidationError

from mmer.errors import AudioError, MMERError
from mmer.files.regular import open_regular
from mmer.inference.inputs import Audio, Utterance, as_utterance, check_several, check_utterance
from mmer.inference.prediction import Prediction
from mmer.plain_text import one_line, valid
from mmer.serving.schemas import Answer, BatchAnswer, Limits, TimelineAnswer

if TYPE_CHECKING:
    from mmer.inference.timeline.timeline import Timeline

PART_BYTES = 1000  # most bytes of a form around one file
Item = Utterance | Audio
Body = TypeVar("Body", bound=BaseModel)


class ServiceError(MMERError):
    """The service refused a request, or could not be asked.

    Args:
        message: the reason, in one line.
        status: HTTP status; None if there was no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Recording:
    """Utterance with the bytes of its file."""

    utterance: Utterance
    content: bytes

    @classmethod
    def read(cls, utterance: Utterance) -> Self:
        """Read the file of an utterance, as `as_utterance` returns it.

        Raises:
            AudioError: the file cannot be read, or only a part or a channel of it is wanted.
        """
        check_utterance(utterance)
        audio, name = utterance.audio, utterance.utterance_id
        if utterance.start is not None or utterance.end is not None or utterance.channel != "mix":
            raise AudioError(
                f"{name}: the service reads whole files; cut the part or the channel out of it first"
            )
        if isinstance(audio, bytes):
            return cls(utterance, audio)
        if utterance.path is None:
            raise AudioError(f"{name}: is no file; the service takes the path or the bytes of an audio file")
        with open_regular(utterance.path) as file:
            return cls(utterance, file.read())

    @property
    def part(self) -> tuple[str, tuple[str, bytes]]:
        """The part of a form with the file, which has the last part of its path as its name."""
        name = valid(str(self.utterance.utterance_id)).replace("\\", "/").rpartition("/")[2]
        return "file", (name[-200:] or "recording", self.content)


@dataclass(frozen=True)
class Call:
    """Request to the service: what `httpx2` needs beside the address and the token."""

    method: str
    path: str
    arguments: dict[str, Any] = field(default_factory=dict)


def ask_predict(utterance: Utterance, min_confidence: float) -> Call:
    """Ask for the prediction of an utterance.

    Raises:
        AudioError: see `Recording.read`.
        ServiceError: `min_confidence` is not a finite number.
    """
    fields = {"transcript": utterance.transcript, "speaker": utterance.speaker}
    given = {name: valid(value) for name, value in fields.items() if value is not None}
    if utterance.audio is None:
        if not math.isfinite(min_confidence):  # JSON has no such number
            raise ServiceError(f"min_confidence is {min_confidence}; it must be 0 or more, and less than 1")
        body = given | {"min_confidence": min_confidence}
        return Call("POST", "v1/predict", {"json": body})
    form = given | {"min_confidence": str(min_confidence)}
    return Call("POST", "v1/predict", {"files": [Recording.read(utterance).part], "data": form})


def ask_predict_batch(group: Sequence[Recording], min_confidence: float) -> Call:
    """Ask for the predictions of several recordings."""
    form: dict[str, Any] = {"min_confidence": str(min_confidence)}
    words = [recording.utterance.transcript for recording in group]
    speakers = [recording.utterance.speaker for recording in group]
    for name, values in (("transcript", words), ("speaker", speakers)):
        if any(values):
            form[name] = [valid(value or "") for value in values]
    files = [recording.part for recording in group]
    return Call("POST", "v1/predict/batch", {"files": files, "data": form})


def ask_timeline(utterance: Utterance, channel: str, smoothing: float) -> Call:
    """Ask for the timeline of a recording."""
    form = {"channel": channel, "smoothing": str(smoothing)}
    return Call("POST", "v1/timeline", {"files": [Recording.read(utterance).part], "data": form})


def groups(items: Iterable[Item], limits: Limits) -> Iterator[list[Recording] | Prediction]:
    """Yield the recordings of one request after the other; a file that cannot be read yields its prediction."""
    check_several(items, "predict_batch", "call predict")
    group: list[Recording] = []
    size = 0
    for number, item in enumerate(items, 1):
        utterance = as_utterance(item, number)
        try:
            recording = Recording.read(utterance)
        except MMERError as error:
            yield _failed(utterance, error)
            continue
        cost = len(recording.content) + len((utterance.transcript or "").encode()) + PART_BYTES
        if group and (len(group) == limits.batch_files or size + cost > limits.upload_bytes):
            yield group
            group, size = [], 0
        group.append(recording)
        size += cost
    if group:
        yield group


def is_too_large(group: Sequence[Recording], error: ServiceError) -> bool:
    """Tell whether a request was refused because of its only file."""
    return len(group) == 1 and error.status == 413


def of_line(waiting: dict[int, Recording], line: str) -> Prediction:
    """Read a line of a batch, and take its recording out of those that wait."""
    found = read_answer(BatchAnswer, line)
    utterance = waiting.pop(found.index).utterance
    if found.answer is None:
        return _failed(utterance, MMERError(found.error))
    return prediction_of(utterance, found.answer)


def unanswered(waiting: dict[int, Recording], error: MMERError) -> Iterator[Prediction]:
    """Yield the predictions of files that the service did not answer."""
    return (_failed(recording.utterance, error) for recording in waiting.values())


def prediction_of(utterance: Utterance, answer: Answer) -> Prediction:
    """Make the prediction of an utterance from the answer of the service."""
    told = answer.model_dump(exclude={"api", "model", "confidence", "min_confidence"})
    return replace(_unpredicted(utterance), **told)


def _failed(utterance: Utterance, error: MMERError) -> Prediction:
    return replace(_unpredicted(utterance), error=one_line(str(error)))


def _unpredicted(utterance: Utterance) -> Prediction:
    return Prediction(
        utterance_id=str(utterance.utterance_id), audio_path=utterance.path, speaker=utterance.speaker
    )


def timeline_of(utterance: Utterance, found: TimelineAnswer) -> "Timeline":
    """Make the timeline of a recording from the answer of the service."""
    from mmer.inference.timeline.segments import segment_name
    from mmer.inference.timeline.timeline import Timeline

    recording = str(utterance.utterance_id)
    segments = [
        Prediction(
            utterance_id=segment_name(recording, segment.start),
            audio_path=utterance.path,
            duration=segment.end - segment.start,
            **segment.model_dump(exclude={"confidence"}),
        )
        for segment in found.segments
    ]
    return Timeline(
        recording=recording,
        duration=found.duration,
        labels=found.labels,
        segments=segments,
        dimensions=found.dimensions,
        smoothing=found.smoothing,
    )


def read_answer(kind: type[Body], content: bytes | str) -> Body:
    """Read an answer of the service.

    Raises:
        ServiceError: it is something else.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise ServiceError(f"this is no answer of a service of mmer: {one_line(problem['msg'])}") from None
