"""The route that answers several recordings in one request, each as soon as its prediction is there."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from mmer.errors import MMERError
from mmer.serving.schemas import BatchAnswer, Question
from mmer.serving.service import REFUSALS, OpenAPI, Service
from mmer.serving.settings import ServiceSettings
from mmer.serving.uploads import MULTIPART, read_questions

if TYPE_CHECKING:
    from fastapi import FastAPI

MOST_FILES = 256
"""Largest number of files in one request."""

AHEAD = 2  # batches of the model that one request may fill at a time, so that others get their turn
DESCRIPTION = (
    "Predict the emotion of each of several files. The response has one JSON object a line for each file, in the "
    "order in which the predictions are ready. A file that cannot be predicted gets a line with its error."
)
FORM: OpenAPI = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "maxItems": MOST_FILES,
            "description": "Audio or video files.",
        },
        "transcript": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Transcripts in the order of the files, one for each, empty where it is unknown; or none.",
        },
        "speaker": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Speakers in the order of the files, one for each, empty where unknown; or none.",
        },
        "min_confidence": {
            "type": "number",
            "description": "An answer with a lower confidence than this is marked as abstained.",
        },
    },
}


def most_files(settings: ServiceSettings) -> int:
    """Return the largest number of files in one request, each of which counts for the rate limit."""
    return min(MOST_FILES, settings.max_per_minute or MOST_FILES)


def add_predict_batch(app: "FastAPI", service: Service) -> None:
    """Add `/v1/predict/batch`."""
    from fastapi import HTTPException, Request
    from fastapi.responses import StreamingResponse

    class Lines(StreamingResponse):
        media_type = "application/x-ndjson"

    settings = service.settings

    @app.post(
        "/v1/predict/batch",
        operation_id="predict_batch",
        tags=["predictions"],
        summary="Predict the emotion of several files",
        description=DESCRIPTION,
        response_class=Lines,
        responses=REFUSALS | {200: {"model": BatchAnswer, "description": "One line for each file."}},
        openapi_extra={"requestBody": {"required": True, "content": {MULTIPART: {"schema": FORM}}}},
    )
    async def predict_batch(request: Request) -> Lines:
        questions = await read_questions(request, settings.max_upload, most_files(settings))
        # Admission has counted the request; the other files count like requests of their own.
        refusal = service.rate.refusal(request.client.host if request.client else None, len(questions) - 1)
        if refusal is not None:
            raise HTTPException(refusal.status, refusal.detail, refusal.headers)
        return Lines(_lines(service, questions))


async def _lines(service: Service, questions: Sequence[Question]) -> AsyncIterator[str]:
    """Yield the line of each question when it is ready; the work ends when the client leaves."""
    seconds = service.settings.answer_seconds
    deadline = asyncio.get_running_loop().time() + seconds
    places = asyncio.Semaphore(AHEAD * service.settings.batch_size)

    async def line(index: int, question: Question) -> str:
        answer = error = None
        try:
            async with asyncio.timeout_at(deadline), places:
                answer = await service.answer(question)
        except MMERError as reason:
            error = str(reason)
        except TimeoutError:
            error = f"no answer within {seconds:g} s; send less at a time, or ask again later"
        except Exception:
            logging.getLogger(__name__).exception("a file of a batch failed")
            error = "the service failed; its log says why"
        return BatchAnswer(index=index, name=question.name, answer=answer, error=error).model_dump_json()

    tasks = [asyncio.create_task(line(*each)) for each in enumerate(questions)]
    try:
        for ready in asyncio.as_completed(tasks):
            yield f"{await ready}\n"
    finally:
        for task in tasks:
            task.cancel()
