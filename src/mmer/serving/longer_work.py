"""Routes whose answers take seconds: timelines and explanations."""

import asyncio
import base64
import io
from collections.abc import Callable
from concurrent.futures import Executor
from functools import cached_property
from threading import Event, local
from typing import TYPE_CHECKING, TypeVar

from mmer.audio.load import probe
from mmer.errors import AudioError, MissingExtraError, MMERError
from mmer.inference.explain.explain import check_can_explain, explain
from mmer.inference.explain.explanation import Explanation
from mmer.inference.inputs import NamedBytes
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.timeline.timeline import Timeline, timeline
from mmer.serving.schemas import ExplanationAnswer, Problem, Question, TimelineAnswer, TimelineQuestion
from mmer.serving.service import REFUSALS, Service, bodies
from mmer.serving.uploads import read_question

if TYPE_CHECKING:
    from fastapi import FastAPI

WAITING = 8  # most requests of one kind in progress or waiting
T = TypeVar("T")


class AbandonedError(Exception):
    """Cancellation of work whose client has left."""


class OneAtATime:
    """Worker for one kind of longer work, with its own thread and its own recognizer, which explanations modify.

    Args:
        thread: an executor with one thread.
        load: loads a recognizer; called at the first request.
    """

    def __init__(self, thread: Executor, load: Callable[[], EmotionRecognizer]) -> None:
        self._thread, self._load = thread, load
        self._here = local()  # `abandoned` of the current work
        self._waiting = 0

    @cached_property
    def _recognizer(self) -> EmotionRecognizer:
        """Load a recognizer that checks before each forward pass whether the client still waits."""
        recognizer = self._load()
        try:
            model = recognizer.model
        except MMERError:  # exported
            return recognizer
        for part in model.children():
            part.register_forward_pre_hook(lambda *_: self.go_on())
        return recognizer

    def go_on(self) -> None:
        """Raise `AbandonedError` if the client no longer waits."""
        abandoned: Event | None = getattr(self._here, "abandoned", None)
        if abandoned is not None and abandoned.is_set():
            raise AbandonedError

    async def do(self, work: Callable[[EmotionRecognizer], T]) -> T:
        """Run `work` and return its result; stop early if the caller is cancelled.

        Raises:
            HTTPException: too many requests wait (503).
            Exception: `work` raises it.
        """
        from starlette.exceptions import HTTPException

        if self._waiting >= WAITING:
            busy = f"{WAITING} requests of this kind wait already, answered one after the other"
            raise HTTPException(
                503, f"the service is busy: {busy}; ask again later", headers={"Retry-After": "10"}
            )
        abandoned = Event()

        def begin() -> T:
            self._here.abandoned = abandoned
            return work(self._recognizer)

        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, begin)
        finally:
            abandoned.set()
            self._waiting -= 1


def explains(recognizer: EmotionRecognizer) -> bool:
    """Tell whether answers of a model can be explained."""
    try:
        check_can_explain(recognizer)
    except MMERError:
        return False
    return True


def add_longer_work(app: "FastAPI", service: Service) -> None:
    """Add `/v1/timeline` and `/v1/explain`, each of which handles one request at a time."""
    from fastapi import HTTPException, Request

    timelines = OneAtATime(service.threads(1, "timelines"), service.load)
    explanations = OneAtATime(service.threads(1, "explanations"), service.load)

    def along(recognizer: EmotionRecognizer, question: TimelineQuestion) -> Timeline:
        longest = service.settings.max_duration
        duration = probe(NamedBytes(question.audio, question.name)).duration
        if duration > longest:
            raise AudioError(f"{question.name}: {duration:.1f} s long, at most {longest:g} s are allowed")
        return timeline(
            recognizer,
            question.audio,
            channel=question.channel,
            smoothing=question.smoothing,
            batch_size=service.settings.batch_size,
            name=question.name,
            progress=lambda done, total: timelines.go_on(),
        )

    def why(recognizer: EmotionRecognizer, question: Question) -> tuple[Explanation, bytes]:
        found = explain(recognizer, question.utterance())
        picture = io.BytesIO()
        found.plot(picture)
        return found, picture.getvalue()

    @app.post(
        "/v1/timeline",
        operation_id="get_timeline",
        tags=["predictions"],
        summary="Predict an emotion for each segment of speech in a recording",
        responses=REFUSALS,
        openapi_extra=bodies(TimelineQuestion),
    )
    async def follow(request: Request) -> TimelineAnswer:
        """Predict an emotion for each segment of speech in a recording."""
        question = await read_question(request, TimelineQuestion, service.settings.max_upload)
        try:
            found = await timelines.do(lambda recognizer: along(recognizer, question))
        except MMERError as error:
            raise HTTPException(422, str(error)) from None
        return TimelineAnswer(model=service.model, **found.to_dict())

    @app.post(
        "/v1/explain",
        operation_id="explain",
        tags=["predictions"],
        summary="Explain the answer to an utterance",
        responses=REFUSALS
        | {501: {"model": Problem, "description": "The extra `explain` is not installed."}},
        openapi_extra=bodies(Question),
    )
    async def account(request: Request) -> ExplanationAnswer:
        """Explain the answer to an utterance."""
        question = await read_question(request, Question, service.settings.max_upload)
        try:
            found, picture = await explanations.do(lambda recognizer: why(recognizer, question))
        except MissingExtraError as error:
            raise HTTPException(501, str(error)) from None
        except MMERError as error:
            raise HTTPException(422, str(error)) from None
        encoded = base64.b64encode(picture).decode()
        return ExplanationAnswer(model=service.model, explanation=found.to_dict(), picture=encoded)
