"""Readiness probe that sends the service an utterance."""

import asyncio
import time

import numpy as np

from mmer.audio.load import SAMPLING_RATE
from mmer.inference.inputs import Utterance
from mmer.inference.recognizer import EmotionRecognizer
from mmer.serving.batching import Batching

KEPT = 5.0  # s for which an answer counts as proof of readiness


class Readiness:
    """Probe that submits a second of noise in a batch with other requests and waits for the answer.

    Concurrent callers share one probe.

    Args:
        batching: the queue to probe.
        recognizer: its recognizer.
        seconds: timeout of the answer.
    """

    def __init__(self, batching: Batching, recognizer: EmotionRecognizer, seconds: float) -> None:
        self._batching, self._seconds = batching, seconds
        processor = recognizer.processor
        noise = np.random.default_rng(0).normal(0, 0.1, SAMPLING_RATE).astype(np.float32)
        self._utterance = Utterance(
            noise if processor.uses_speech else None,
            "Is anybody there?" if processor.uses_text else None,
            sampling_rate=SAMPLING_RATE,
            utterance_id="readiness",
        )
        self._question: asyncio.Task[bool] | None = None
        self._answered = -np.inf

    async def __call__(self) -> bool:
        """Tell whether there was an answer in the last 5 s or is one now."""
        if time.monotonic() - self._answered < KEPT:
            return True
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(self._ask())
        await asyncio.wait([self._question], timeout=self._seconds)
        return self._question.done() and self._question.result()

    async def _ask(self) -> bool:
        try:
            prediction = await self._batching.answer(self._utterance)
        except Exception:
            return False
        if prediction.error is not None:
            return False
        self._answered = time.monotonic()
        return True
