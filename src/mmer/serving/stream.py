"""Streaming predictions: 16-bit PCM in, one JSON message per answer out."""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypeVar

import numpy as np

from mmer.audio.load import SAMPLING_RATE
from mmer.features.preprocessor import Preprocessor
from mmer.inference.inputs import Utterance
from mmer.inference.listen import Heard, Listener, Resampler
from mmer.inference.prediction import Prediction
from mmer.plain_text import counted, one_line, shortened
from mmer.serving.schemas import Answer, Problem, StreamAnswer
from mmer.serving.service import OpenAPI, Service
from mmer.serving.settings import ServiceSettings

if TYPE_CHECKING:
    from fastapi import FastAPI, WebSocket
    from starlette.datastructures import QueryParams

RATES = (8_000, 48_000)  # Hz
_RATE = re.compile(r"\d{4,5}", re.ASCII)
END = "end"
POLICY, RESTART, LATER = 1008, 1012, 1013  # close codes of RFC 6455 and its registry
LOOK = 0.5  # s between checks of a stream that waits for sound
T = TypeVar("T")
PATIENCE = 5.0  # s for which a silent stream keeps its place while others wait


@dataclass(frozen=True, slots=True)
class BatchedPredictor:
    """Predictor that answers a stream's utterances in the batches of a service, together with other requests.

    Attributes:
        service: the service that owns the batches.
        loop: event loop of the service; `predict` runs in another thread.
    """

    service: Service
    loop: asyncio.AbstractEventLoop

    @property
    def processor(self) -> Preprocessor:
        """Return the processor of the service's model."""
        return self.service.recognizer.processor

    def predict(self, items: Iterable[Utterance]) -> Iterator[Prediction]:
        """Yield the prediction for each utterance, in order; blocks until the service has answered it."""
        for utterance in items:
            yield asyncio.run_coroutine_threadsafe(
                self.service.batching.answer(utterance), self.loop
            ).result()


class Pace:
    """Timing of a stream, which decides when to close it.

    Args:
        settings: settings of the service.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._waited = 0.0
        # time when the last second of sound was complete, and sound received since
        self._since, self._sound = time.monotonic(), 0.0
        self.must_yield = False

    def came(self, seconds: float) -> None:
        """Add received sound."""
        self._sound += seconds
        if self._sound >= 1:
            self._since, self._sound = time.monotonic(), 0.0

    def waited(self, seconds: float) -> None:
        """Add time in which the service waited for the stream."""
        self._waited += seconds

    def worked(self, seconds: float) -> None:
        """Exclude time in which the service was working."""
        self._since += seconds

    @property
    def silence(self) -> float:
        """Return how long the stream has sent less than a second of sound, in seconds."""
        return time.monotonic() - self._since

    def end(self) -> tuple[int, str] | None:
        """Return why the stream is closed."""
        longest = self._settings.max_duration
        if self.silence > self._settings.silence_seconds:
            return POLICY, f"less than a second of sound came in {self._settings.silence_seconds:g} s"
        if self._waited > longest:
            return POLICY, f"the stream is too long: at most {longest:g} s are allowed"
        return (LATER, "the service is busy, and this stream was silent") if self.must_yield else None


STREAM = f"""\
Connect by WebSocket. Send 16-bit little-endian mono samples as binary messages, and the text `{END}` at last. Each
message of the service is a JSON object, about once a second during speech and at each pause (`final`). The service
closes the connection with code 1000 when all is answered, {POLICY} when the input is wrong, too long or too little,
{RESTART} when the service stops, and {LATER} when too many streams are open."""


def _documentation() -> OpenAPI:
    """Describe a stream in OpenAPI, which knows requests and responses only."""
    message = StreamAnswer.model_json_schema(ref_template="#/components/schemas/{model}")
    del message["$defs"]  # the document holds them for other routes
    switched = {
        "description": "Messages of the service.",
        "content": {"application/json": {"schema": message}},
    }
    return {"responses": {"101": switched}}


class Streams:
    """The streams that a service answers, at most `max_streams` at a time.

    Args:
        service: the service.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        # Each stream waits for batches in its own thread; batches run in another.
        self._threads = service.threads(service.settings.max_streams, "streams")
        self._open: set[Pace] = set()

    async def answer(self, websocket: "WebSocket", rate: int) -> None:
        """Answer a stream of samples, `rate` Hz, until either side ends it."""
        pace = Pace(self._service.settings)
        if not self._has_place():
            most = counted(self._service.settings.max_streams, "stream", "is", "are")
            await websocket.close(LATER, f"{most} being answered, and no more at a time; ask again later")
            return
        self._open.add(pace)
        try:
            await self._follow(websocket, rate, pace)
        finally:
            self._open.discard(pace)

    def _has_place(self) -> bool:
        """Tell whether there is room for one more stream; a silent stream is closed to make room."""
        if len(self._open) < self._service.settings.max_streams:
            return True
        most_silent = max(self._open, key=lambda pace: pace.silence)
        if most_silent.silence < PATIENCE:
            return False
        most_silent.must_yield = True
        self._open.discard(most_silent)
        return True

    async def _follow(self, websocket: "WebSocket", rate: int, pace: Pace) -> None:
        service, longest = self._service, self._service.settings.max_duration
        predictor = BatchedPredictor(service, asyncio.get_running_loop())
        listener = await self._in_thread(lambda: Listener(predictor))
        resample = Resampler(rate)

        def hear(pcm: bytes, came: float) -> list[Heard]:
            samples = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)
            return list(listener.feed(resample(samples), came))

        while not service.state.draining:
            before = time.monotonic()
            try:
                async with asyncio.timeout(LOOK):
                    message = await websocket.receive()
            except TimeoutError:
                message = None
            came = time.monotonic()
            pace.waited(came - before)
            if end := pace.end():
                await websocket.close(*end)
                return
            if message is None:
                continue
            if message["type"] == "websocket.disconnect":
                return
            pcm = message.get("bytes")
            if pcm is None and message.get("text") == END:
                break
            if pcm is None or len(pcm) % 2:
                wanted = f"send whole samples of 16 bits as binary messages, and the text {END} at last"
                await websocket.close(POLICY, wanted)
                return
            pace.came(len(pcm) / 2 / rate)
            for heard in await self._in_thread(partial(hear, pcm, came)):
                await websocket.send_text(self._told(heard))
            pace.worked(time.monotonic() - came)
            if listener.seconds > longest:
                await websocket.close(POLICY, f"the stream is too long: at most {longest:g} s are allowed")
                return
        for heard in await self._in_thread(lambda: list(listener.finish())):
            await websocket.send_text(self._told(heard))
        await websocket.close(RESTART if service.state.draining else 1000)

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def _told(self, heard: Heard) -> str:
        prediction = heard.prediction
        answer = None
        if prediction.error is None:
            answer = Answer.of(prediction, model=self._service.model, min_confidence=0)
            if heard.final:
                self._service.metrics.answer(prediction)
        assert prediction.start is not None
        assert prediction.end is not None
        return StreamAnswer(
            final=heard.final,
            start=prediction.start,
            end=prediction.end,
            delay=heard.delay,
            answer=answer,
            error=prediction.error,
        ).model_dump_json()


def add_stream(app: "FastAPI", service: Service) -> None:
    """Add `/v1/stream`: a WebSocket that takes 16-bit little-endian mono PCM and sends `StreamAnswer` messages.

    `?rate=` sets the sampling rate, 16000 Hz by default. The text message `end` requests the remaining answers; the
    service then closes the connection.
    """
    from fastapi import HTTPException, Query, WebSocket, WebSocketDisconnect
    from fastapi.responses import JSONResponse

    streams = Streams(service)

    @app.get(
        "/v1/stream",
        operation_id="stream",
        tags=["predictions"],
        summary="Predict emotions of live speech",
        description=STREAM,
        status_code=426,
        response_model=Problem,
        response_description="The request did not ask for a WebSocket.",
        openapi_extra=_documentation(),
    )
    async def not_upgraded(
        rate: Annotated[
            int, Query(ge=RATES[0], le=RATES[1], description="Sampling rate in Hz.")
        ] = SAMPLING_RATE,
    ) -> None:
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
        raise HTTPException(426, "this route is a stream: connect to it by WebSocket", upgrade)

    @app.websocket("/v1/stream")
    async def stream(websocket: WebSocket, rate: str = str(SAMPLING_RATE)) -> None:
        try:
            await websocket.accept()
            if wrong := _refusal(websocket.query_params, rate, service):
                await websocket.close(POLICY, wrong)
            else:
                await streams.answer(websocket, int(rate))
        except WebSocketDisconnect:
            return

    @app.websocket("/{path:path}")
    async def no_stream(websocket: WebSocket, path: str) -> None:
        told = f"there is no stream at /{shortened(one_line(path), 100)}; connect to /v1/stream"
        await websocket.send_denial_response(JSONResponse({"detail": told}, 404))


def _refusal(address: "QueryParams", rate: str, service: Service) -> str | None:
    """Return why the stream is refused; None if it is not."""
    for name in address:
        if name != "rate":
            told = shortened(one_line(name), 20)
            return f"the address has a field '{told}'; it may have rate alone"
    if (count := len(address.getlist("rate"))) > 1:
        return f"the address has {count} values of rate; send it once"
    lowest, highest = RATES
    if not (_RATE.fullmatch(rate) and lowest <= int(rate) <= highest):
        return f"rate {shortened(one_line(rate), 20)}; give {lowest} to {highest} Hz"
    return None if service.recognizer.processor.uses_speech else "this model does not listen"
