"""JSON schemas of requests and answers."""

import base64
import binascii
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from mmer.errors import MMERError
from mmer.inference.inputs import Utterance
from mmer.inference.prediction import Prediction
from mmer.inference.timeline.summary import Summary

Probability = Annotated[float, Field(ge=0, le=1)]
Transcript = Annotated[str, Field(max_length=10_000)]
DATA_URL = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)


def _from_base64(value: Any) -> Any:
    """Decode Base64 text, with or without line breaks, alone or in a `data:` URL."""
    if not isinstance(value, str):
        return value
    prefix = DATA_URL.match(value[:1000])
    text = "".join(value[prefix.end() if prefix else 0 :].split()).rstrip("=")
    try:
        standard = text.translate({ord("-"): "+", ord("_"): "/"})
        return base64.b64decode(standard + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise PydanticCustomError("base64", "this is neither Base64 nor a data: URL with Base64") from None


Sound = Annotated[
    bytes,
    BeforeValidator(_from_base64, json_schema_input_type=str),
    Field(json_schema_extra={"format": "byte"}),
]


class Upload(BaseModel):
    """Base of requests with a recording, `audio`."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("recording", max_length=200, description="Name of the recording in errors.")


class Question(Upload):
    """One utterance: a recording, its transcript, or both; and its speaker."""

    audio: Sound | None = Field(
        None, description="An audio or video file in Base64. Leave it out for a transcript alone."
    )
    transcript: Transcript | None = Field(None, description="Transcript, if known.")
    speaker: str | None = Field(
        None,
        max_length=200,
        description="Speaker, for a service that was started with clips of known speakers and a model that "
        "standardizes per speaker. Clips of other requests do not count.",
    )
    min_confidence: float = Field(
        0.0, ge=0, lt=1, description="An answer with a lower confidence than this is marked as abstained."
    )

    def utterance(self) -> Utterance:
        """Return the utterance that is asked about.

        Raises:
            MMERError: there is neither a recording nor a transcript.
        """
        name = self.name if self.audio is not None else "transcript"
        if self.audio is None and not (self.transcript or "").strip():
            raise MMERError(f"{name}: neither a recording nor a transcript was given")
        return Utterance(self.audio, self.transcript, speaker=self.speaker, utterance_id=name)


class TimelineQuestion(Upload):
    """Recording with several utterances, one after the other."""

    audio: Sound = Field(description="An audio or video file in Base64.")
    channel: str = Field(
        "mix",
        max_length=20,
        description="mix, left, right, the number of one from 1, or each: every channel is one speaker.",
    )
    smoothing: float = Field(
        0.0, ge=0, le=3600, description="Time constant of the smoothing in seconds; 0 for none."
    )


class Answer(BaseModel):
    """Answer for one utterance, as `mmer predict` gives it."""

    api: Literal["v1"] = "v1"
    model: str = Field(description="The model that answered: SHA-256 of its files.")
    label: str | None = Field(
        description="The most probable emotion; null if the model answers `dimensions`."
    )
    confidence: Probability | None = Field(description="Probability of `label`.")
    abstained: bool = Field(
        description="Whether `confidence` is below `min_confidence`: then do not use `label`."
    )
    min_confidence: Probability
    probabilities: dict[str, float] | None = Field(
        description="Probability of every emotion, adding up to 1; null if the model answers `dimensions`."
    )
    dimensions: dict[str, float] | None = Field(
        description="Numbers that the model answers in place of an emotion, such as arousal, from 0 to 1; null if it "
        "answers emotions."
    )
    transcript: str | None = Field(description="Transcript that the model read.")
    transcript_source: str = Field(
        description="given, none, or the speech recognizer: ctc, whisper:NAME.", examples=["given"]
    )
    duration: float | None = Field(description="Seconds of sound; null where no sound was read.")
    alone: dict[str, dict[str, float]] | None = Field(
        description="Probabilities from `speech` alone and `text` alone; null if the model has none."
    )
    contributions: dict[str, float | None] = Field(
        description="The probability of `label` minus that in the answer without this modality."
    )
    condition: str = Field(description="Modalities behind the answer: both, speech or text.")
    warnings: list[str] = Field(description="Reasons why the answer may be less reliable.")

    @classmethod
    def of(cls, prediction: Prediction, *, model: str, min_confidence: float) -> Self:
        """Create the answer from a prediction without error, as marked by `Abstention`."""
        told = {name: value for name, value in prediction.to_dict().items() if name in cls.model_fields}
        return cls(
            **told,
            model=model,
            confidence=prediction.confidence,
            min_confidence=min_confidence,
        )


class BatchAnswer(BaseModel):
    """Line of a batch: the answer for one of its files."""

    api: Literal["v1"] = "v1"
    index: int = Field(description="Position of the file in the request, from 0.")
    name: str = Field(description="Name of the file.")
    answer: Answer | None = Field(description="Null where there is an error.")
    error: str | None


class SegmentAnswer(BaseModel):
    """Answer for a segment of speech; `label` and `probabilities` are null where it has an `error` or `dimensions`."""

    start: float = Field(description="Seconds.")
    end: float = Field(description="Seconds.")
    channel: str
    speaker: str | None
    transcript: str | None
    transcript_source: str
    label: str | None
    confidence: float | None
    probabilities: dict[str, float] | None
    dimensions: dict[str, float] | None
    warnings: list[str]
    error: str | None


class TimelineAnswer(BaseModel):
    """Answers along a recording, as `mmer timeline` gives them."""

    api: Literal["v1"] = "v1"
    model: str
    recording: str
    duration: float = Field(description="Seconds.")
    labels: list[str]
    dimensions: list[str]
    smoothing: float
    summaries: list[Summary] = Field(
        description="What was answered in the whole recording, then by each voice: of every emotion the share of "
        "speech, the mean probability, that of each third, the longest stretch and the peak."
    )
    segments: list[SegmentAnswer]


class StreamAnswer(BaseModel):
    """Answer of a stream for a segment of speech, during the segment and at its end."""

    api: Literal["v1"] = "v1"
    final: bool = Field(description="Whether the segment is over; otherwise more answers for it follow.")
    start: float = Field(description="Seconds since the stream began.")
    end: float = Field(description="Seconds since the stream began.")
    delay: float = Field(description="Seconds from the arrival of the last sample of it to the answer.")
    answer: Answer | None = Field(description="Null where there is an error.")
    error: str | None


class ExplanationAnswer(BaseModel):
    """Explanation of an answer, as `mmer explain` gives it."""

    api: Literal["v1"] = "v1"
    model: str
    explanation: dict[str, Any]
    picture: str = Field(description="The same as a PNG, in Base64.", json_schema_extra={"format": "byte"})


class Limits(BaseModel):
    """Limits of the service."""

    upload_bytes: int = Field(description="Largest request; else 413.")
    upload_minutes: dict[str, float] = Field(
        description="Minutes of sound that `upload_bytes` hold, by format. JSON holds three quarters of them."
    )
    batch_files: int = Field(description="Most files in one request to `/v1/predict/batch`; else 422.")
    clip_seconds: float | None = Field(
        description="Longest recording for one answer; else 422. Null without sound."
    )
    timeline_seconds: float = Field(
        description="Longest recording or stream that is divided into segments; else 422."
    )
    requests_per_minute: int = Field(description="Requests from one address; else 429. 0 for no limit.")
    concurrent: int = Field(description="Simultaneous requests; else 503.")
    streams: int = Field(description="Simultaneous streams; others are closed with code 1013.")
    answer_seconds: float = Field(
        description="Longest time from the end of a request to its answer; else 504."
    )


class ModelCard(BaseModel):
    """Description of the model."""

    api: Literal["v1"] = "v1"
    name: str = Field(description="Name of its folder.")
    model: str = Field(description="SHA-256 of its files.")
    version: str = Field(description="Of mmer.")
    labels: list[str] = Field(description="Emotions of the model.")
    colors: dict[str, str] = Field(
        description="CSS color of each emotion on the page, for a light and a dark theme."
    )
    dimensions: list[str] = Field(description="Numbers that the model answers in place of emotions.")
    listens: bool = Field(description="Whether it takes recordings.")
    reads: bool = Field(description="Whether it takes transcripts.")
    needs_both: bool = Field(description="Whether it needs a recording beside a transcript.")
    transcription: str = Field(description="Where transcripts come from: given, none, ctc or whisper:NAME.")
    calibrated: bool = Field(description="Whether its probabilities are calibrated.")
    explains: bool = Field(description="Whether its answers can be explained.")
    limits: Limits


class Status(BaseModel):
    """State of the service."""

    status: Literal["ok", "stuck", "stopping"] = Field(
        description="stuck: the model does not answer in time. stopping: no more requests are taken."
    )


class Problem(BaseModel):
    """Reason for a refusal or failure."""

    detail: str = Field(description="One line: what is wrong, what was found and what is allowed.")
