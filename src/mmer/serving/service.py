"""Objects shared by the routes of a service."""

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from mmer.errors import MMERError
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.trust.abstention import Abstention
from mmer.serving.admission import RateLimit
from mmer.serving.batching import Batching
from mmer.serving.prometheus import Metrics
from mmer.serving.schemas import Answer, Problem, Question, Upload
from mmer.serving.settings import ServiceSettings, ServiceState
from mmer.serving.uploads import JSON, MULTIPART

OpenAPI = dict[str, Any]
"""Part of an OpenAPI document."""

Responses = dict[int | str, OpenAPI]
"""What FastAPI documents of an answer, by its status."""

REFUSALS: Responses = {status: {"model": Problem} for status in (413, 415, 422)}


@dataclass(frozen=True)
class Service:
    """Objects shared by the routes of a service.

    Attributes:
        recognizer: the recognizer that answers.
        load: loads another such recognizer.
        name: display name of the model.
        model: hash of the model, see `model_hash`.
        settings: limits and access.
        state: state shared with the code that stops the service.
        metrics: counters.
        batching: queue of single utterances for the recognizer.
        rate: rate limit of the clients.
        pools: thread pools of the routes, which end with the service.
    """

    recognizer: EmotionRecognizer
    load: Callable[[], EmotionRecognizer]
    name: str
    model: str
    settings: ServiceSettings
    state: ServiceState
    metrics: Metrics
    batching: Batching
    rate: RateLimit
    pools: list[Executor] = field(default_factory=list)

    async def answer(self, question: Question) -> Answer:
        """Answer a question in a batch with others.

        Raises:
            MMERError: there is no prediction for it.
        """
        prediction = await self.batching.answer(question.utterance())
        if prediction.error is not None:
            raise MMERError(prediction.error)
        self.metrics.answer(prediction)
        calibration, minimum = self.recognizer.calibration, question.min_confidence
        marked = Abstention(calibration, minimum or None)(prediction)
        return Answer.of(marked, model=self.model, min_confidence=minimum)

    def threads(self, number: int, name: str) -> Executor:
        """Create a thread pool; its tasks must not wait for each other."""
        pool = ThreadPoolExecutor(number, f"mmer-{name}")
        self.pools.append(pool)
        return pool


def bodies(asked: type[Upload]) -> OpenAPI:
    """Describe the bodies that `read_question` reads, for the documentation of a route."""
    schema = asked.model_json_schema()
    fields = {name: field for name, field in schema["properties"].items() if name not in ("audio", "name")}
    file = {"type": "string", "format": "binary", "description": "An audio or video file."}
    content = {
        MULTIPART: {"schema": {"type": "object", "properties": {"file": file, **fields}}},
        JSON: {"schema": schema},
    }
    return {"requestBody": {"required": True, "content": content}}
