"""Answers while one speaks: 16-bit PCM in, one JSON message for each answer out."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from mmer.audio import SAMPLING_RATE
from mmer.inference.inputs import Utterance
from mmer.inference.listen import Heard, Listener, Resampler
from mmer.inference.output import Prediction
from mmer.inference.recognizer import EmotionRecognizer
from mmer.model.processor import MMERProcessor
from mmer.serving.schemas import Answer, StreamAnswer
from mmer.serving.service import Service

if TYPE_CHECKING:
    from fastapi import FastAPI

RATES = (8_000, 48_000)  # Hz
END = "end"
POLICY, RESTART = 1008, 1012  # why a connection is closed: RFC 6455 and its registry


@dataclass(frozen=True, slots=True)
class Together:
    """What `Listener` asks of a recognizer; answered in batches with what others ask.

    Attributes:
        service: whose batches they are.
        loop: that the service runs in; `predict` is called in another thread.
    """

    service: Service
    loop: asyncio.AbstractEventLoop

    @property
    def processor(self) -> MMERProcessor:
        """As of the recognizer."""
        return self.service.recognizer.processor

    def predict(self, items: Iterable[Utterance]) -> Iterator[Prediction]:
        """As of the recognizer."""
        for utterance in items:
            yield asyncio.run_coroutine_threadsafe(
                self.service.batching.answer(utterance), self.loop
            ).result()


def add_stream(app: "FastAPI", service: Service) -> None:
    """Add `/v1/stream`: a WebSocket that takes 16-bit little-endian mono PCM and gives `StreamAnswer` messages.

    `?rate=` says the sampling rate, 16000 Hz unless given. The text message `end` asks for what is left; the service
    closes the connection after it.
    """
    from fastapi import WebSocket, WebSocketDisconnect

    def told(heard: Heard) -> str:
        prediction = heard.prediction
        answer = None
        if prediction.error is None:
            answer = Answer.of(prediction, model=service.model, min_confidence=0)
            if heard.final:
                service.metrics.answer(prediction)
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

    @app.websocket("/v1/stream")
    async def stream(websocket: WebSocket, rate: int = SAMPLING_RATE) -> None:
        await websocket.accept()
        wrong = _refusal(rate, service)
        if wrong:
            await websocket.close(POLICY, wrong)
            return
        recognizer = cast(EmotionRecognizer, Together(service, asyncio.get_running_loop()))
        listener = await asyncio.to_thread(Listener, recognizer)
        resample = Resampler(rate)

        def hear(pcm: bytes, came: float) -> list[Heard]:
            samples = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)
            return list(listener.feed(resample(samples), came))

        try:
            while not service.state.draining:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                pcm, came = message.get("bytes"), time.monotonic()
                if pcm is None and message.get("text") == END:
                    break
                if pcm is None or len(pcm) % 2:
                    wanted = f"send whole samples of 16 bits as binary messages, and the text {END} at last"
                    await websocket.close(POLICY, wanted)
                    return
                for heard in await asyncio.to_thread(hear, pcm, came):
                    await websocket.send_text(told(heard))
                if listener.seconds > service.settings.max_duration:
                    longest = f"at most {service.settings.max_duration:g} s"
                    await websocket.close(POLICY, f"the stream is too long: {longest} are allowed")
                    return
            for heard in await asyncio.to_thread(lambda: list(listener.finish())):
                await websocket.send_text(told(heard))
            await websocket.close(RESTART if service.state.draining else 1000)
        except WebSocketDisconnect:
            return


def _refusal(rate: int, service: Service) -> str | None:
    """Why there can be no stream."""
    lowest, highest = RATES
    if not lowest <= rate <= highest:
        return f"rate {rate}; give {lowest} to {highest} Hz"
    return None if service.recognizer.processor.uses_speech else "this model does not listen"
