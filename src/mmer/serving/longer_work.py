"""Routes whose answers take seconds: the timeline of a recording, and the explanation of an answer."""

import asyncio
import base64
import io
from functools import cache
from typing import TYPE_CHECKING

from mmer.audio import probe
from mmer.errors import AudioError, MissingExtraError, MMERError
from mmer.inference.explain import Explanation, explain
from mmer.inference.inputs import NamedBytes, Utterance
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.timeline import Timeline, timeline
from mmer.serving.schemas import ExplanationAnswer, Question, TimelineAnswer, TimelineQuestion
from mmer.serving.service import REFUSALS, Service, bodies
from mmer.serving.uploads import read_question

if TYPE_CHECKING:
    from fastapi import FastAPI


def add_longer_work(app: "FastAPI", service: Service) -> None:
    """Add `/v1/timeline` and `/v1/explain`, one of which works at a time, beside the answers to single utterances."""
    from fastapi import HTTPException, Request

    one_at_a_time = asyncio.Semaphore(1)

    @cache
    def recognizer() -> EmotionRecognizer:
        # Another one, because a tokenizer serves one thread at a time, and explaining changes the network for a moment.
        return service.load()

    def along(question: TimelineQuestion) -> Timeline:
        longest = service.settings.max_duration
        duration = probe(NamedBytes(question.audio, question.name)).duration
        if duration > longest:
            raise AudioError(f"{question.name}: {duration:.1f} s long, at most {longest:g} s are allowed")
        return timeline(
            recognizer(),
            question.audio,
            channel=question.channel,
            smoothing=question.smoothing,
            batch_size=service.settings.batch_size,
            name=question.name,
            progress=lambda done, total: go_on(),
        )

    def go_on() -> None:
        if service.state.cut_off:
            raise MMERError("the service is stopping; ask again later")

    def why(question: Question) -> tuple[Explanation, bytes]:
        name = question.name if question.audio is not None else "transcript"
        found = explain(recognizer(), Utterance(question.audio, question.transcript, utterance_id=name))
        picture = io.BytesIO()
        found.plot(picture)
        return found, picture.getvalue()

    @app.post("/v1/timeline", responses=REFUSALS, openapi_extra=bodies(TimelineQuestion))
    async def follow(request: Request) -> TimelineAnswer:
        """An emotion for each segment of speech in a recording."""
        question = await read_question(request, TimelineQuestion, service.settings.max_upload)
        async with one_at_a_time:
            try:
                found = await asyncio.to_thread(along, question)
            except MMERError as error:
                raise HTTPException(503 if service.state.cut_off else 422, str(error)) from None
        return TimelineAnswer(model=service.model, **found.to_dict())

    @app.post("/v1/explain", responses=REFUSALS, openapi_extra=bodies(Question))
    async def account(request: Request) -> ExplanationAnswer:
        """What the answer for an utterance is owed to."""
        question = await read_question(request, Question, service.settings.max_upload)
        async with one_at_a_time:
            try:
                found, picture = await asyncio.to_thread(why, question)
            except MissingExtraError as error:
                raise HTTPException(501, str(error)) from None
            except MMERError as error:
                raise HTTPException(422, str(error)) from None
        encoded = base64.b64encode(picture).decode()
        return ExplanationAnswer(model=service.model, explanation=found.to_dict(), picture=encoded)
