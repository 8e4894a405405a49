"""The route whose answers take long: the timeline of a recording."""

import asyncio
from functools import cache
from typing import TYPE_CHECKING

from mmer.audio import probe
from mmer.errors import AudioError, MMERError
from mmer.inference.inputs import NamedBytes
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.timeline import Timeline, timeline
from mmer.serving.schemas import TimelineAnswer, TimelineQuestion
from mmer.serving.service import REFUSALS, Service, bodies
from mmer.serving.uploads import read_question

if TYPE_CHECKING:
    from fastapi import FastAPI


def add_longer_work(app: "FastAPI", service: Service) -> None:
    """Add `/v1/timeline`, one of which works at a time, beside the answers to single utterances."""
    from fastapi import HTTPException, Request

    one_at_a_time = asyncio.Semaphore(1)

    @cache
    def recognizer() -> EmotionRecognizer:
        # Another one, because a tokenizer serves one thread at a time.
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
