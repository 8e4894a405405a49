"""Answers while one speaks: 16-bit PCM in, one JSON message for each answer out."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import soxr
from numpy.typing import NDArray

from mmer.audio import SAMPLING_RATE
from mmer.inference.inputs import Utterance
from mmer.inference.segmentation import PADDING, SpeechFinder
from mmer.serving.schemas import Answer, Heard
from mmer.serving.service import Service

if TYPE_CHECKING:
    from fastapi import FastAPI

PROVISIONAL = 1.0  # s of speech after which there is an answer to what has been said so far
RATES = (8_000, 48_000)  # Hz
END = "end"
POLICY, RESTART = 1008, 1012  # of RFC 6455 and its registry: why a connection is closed


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of speech in a stream.

    Attributes:
        start, end: seconds since the stream began.
        final: whether it is finished.
        samples: (samples,) at 16 kHz, full scale = ±1.
    """

    start: float
    end: float
    final: bool
    samples: NDArray[np.float32]


class LiveSpeech:
    """Finds what is said in a stream of samples, while it is said.

    Args:
        rate: Hz of the stream.
        longest: seconds, the most that a part may have.
    """

    def __init__(self, rate: int, longest: float) -> None:
        self._finder = SpeechFinder(longest=longest)
        self._resample = soxr.ResampleStream(rate, SAMPLING_RATE, 1, dtype="float32")
        self._kept = np.zeros(0, np.float32)
        self._first = 0  # index of the first sample that is kept
        self._told = 0.0  # s up to which there was an answer to the part under way
        self.seconds = 0.0

    def feed(self, pcm: bytes, *, last: bool = False) -> Iterator[Part]:
        """The parts that end in the next samples, and the one under way where enough of it is new.

        Args:
            pcm: 16-bit little-endian mono samples.
            last: whether the stream ends with them.
        """
        samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
        samples = self._resample.resample_chunk(samples, last=last)
        self._kept = np.concatenate([self._kept, samples])
        self.seconds += len(samples) / SAMPLING_RATE
        finished = list(self._finder.feed(samples))
        if last:
            finished += self._finder.finish()
        for start, end in finished:
            self._told = end
            yield self._part(start, end, final=True)
        begin, now = self._finder.under_way, self._finder.position
        if begin is not None and not last and now - max(begin, self._told) >= PROVISIONAL:
            self._told = now
            yield self._part(begin, now, final=False)
        self._forget(now - 2 * PADDING - 1 if begin is None else begin)

    def _part(self, start: float, end: float, *, final: bool) -> Part:
        first, last = (round(seconds * SAMPLING_RATE) - self._first for seconds in (start, end))
        return Part(start, end, final, self._kept[max(first, 0) : last])

    def _forget(self, before: float) -> None:
        surplus = round(before * SAMPLING_RATE) - self._first
        if surplus > 0:
            self._kept = self._kept[surplus:]
            self._first += surplus


def add_stream(app: "FastAPI", service: Service) -> None:
    """Add `/v1/stream`: a WebSocket that takes 16-bit little-endian mono PCM and gives a `Heard` for each answer.

    `?rate=` says the sampling rate, 16000 Hz unless given. The text message `end` asks for what is left; the service
    closes the connection after it.
    """
    from fastapi import WebSocket, WebSocketDisconnect

    async def tell(websocket: WebSocket, part: Part) -> None:
        came = time.perf_counter()
        prediction = await service.batching.answer(
            Utterance(part.samples, sampling_rate=SAMPLING_RATE, utterance_id=f"speech at {part.start:.2f} s")
        )
        answer = None
        if prediction.error is None:
            answer = Answer.of(prediction, model=service.model, min_confidence=0)
            if part.final:
                service.metrics.answer(prediction)
        heard = Heard(
            kind="final" if part.final else "provisional",
            start=part.start,
            end=part.end,
            delay=time.perf_counter() - came,
            answer=answer,
            error=prediction.error,
        )
        await websocket.send_text(heard.model_dump_json())

    @app.websocket("/v1/stream")
    async def stream(websocket: WebSocket, rate: int = SAMPLING_RATE) -> None:
        await websocket.accept()
        lowest, highest = RATES
        if not lowest <= rate <= highest:
            await websocket.close(POLICY, f"rate {rate}; give {lowest} to {highest} Hz")
            return
        if not service.recognizer.processor.uses_speech:
            await websocket.close(POLICY, "this model does not listen")
            return
        live = LiveSpeech(rate, service.recognizer.processor.max_duration)
        last = False
        try:
            while not last:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                pcm = message.get("bytes")
                if pcm is None and message.get("text") != END:
                    await websocket.close(
                        POLICY, f"send samples as binary messages, and the text {END} at last"
                    )
                    return
                if len(pcm or b"") % 2:
                    await websocket.close(POLICY, "half a sample; messages hold whole samples of 16 bits")
                    return
                last = pcm is None or service.state.draining
                for part in await asyncio.to_thread(list, live.feed(pcm or b"", last=last)):
                    await tell(websocket, part)
                if live.seconds > service.settings.max_duration:
                    longest = f"at most {service.settings.max_duration:g} s are allowed"
                    await websocket.close(POLICY, f"the stream is too long; {longest}")
                    return
            await websocket.close(RESTART if service.state.draining else 1000)
        except WebSocketDisconnect:
            return
