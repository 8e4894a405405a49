"""Batching of concurrent requests."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mmer.extras import import_extra
from mmer.inference.inputs import Utterance
from mmer.inference.prediction import Prediction
from mmer.inference.reading import Clip, reading_threads
from mmer.inference.recognizer import EmotionRecognizer

if TYPE_CHECKING:
    from async_batcher.batcher import AsyncBatcher

AHEAD = 4
"""Batches of utterances that are decoded, wait for the model or are answered, at most; further ones wait undecoded."""


@dataclass(eq=False, slots=True)
class Asked:
    """Clip with a flag for whether its caller still waits."""

    clip: Clip
    is_wanted: bool = True


class Batching:
    """Queue that answers single utterances in batches, one batch at a time, in its own thread.

    Utterances are decoded in threads of their own as soon as they arrive. While the model computes a batch, the next
    one fills with decoded utterances. An utterance that finds the model idle waits up to `wait` seconds for more
    utterances, and at most twice that if some arrive. Answers do not depend on the batch. An utterance that fails does
    not affect the others, and one whose caller was cancelled is skipped.

    Args:
        recognizer: the recognizer; it standardizes a named speaker by the clips it already knows, not by requests.
        batch_size: largest number of utterances in a batch.
        wait: waiting time in seconds.
        observe: called with the size of each batch.
    """

    def __init__(
        self,
        recognizer: EmotionRecognizer,
        *,
        batch_size: int,
        wait: float,
        observe: Callable[[int], None],
    ) -> None:
        library = import_extra("async_batcher.batcher", "the HTTP service", "serve")
        self._recognizer = recognizer
        self._thread = ThreadPoolExecutor(1, "mmer-batches")
        self._until_stopped = ExitStack()
        self._places = asyncio.Semaphore(AHEAD * batch_size)

        def answer_all(clips: list[Clip]) -> list[Prediction | Exception]:
            """Answer a batch; halve a failing one until the utterance at fault is alone."""
            try:
                return [*recognizer.answer(clips, batch_size=batch_size)]
            except Exception as error:
                if len(clips) == 1:
                    return [error]
                half = len(clips) // 2
                return answer_all(clips[:half]) + answer_all(clips[half:])

        class Batcher(library.AsyncBatcher):
            async def process_batch(self, batch: list[Asked]) -> list[Prediction | Exception | None]:
                wanted = [asked for asked in batch if asked.is_wanted]
                if not wanted:
                    return [None] * len(batch)
                observe(len(wanted))
                clips = [asked.clip for asked in wanted]
                loop = asyncio.get_running_loop()
                answers = await loop.run_in_executor(thread, answer_all, clips)
                found = dict(zip(wanted, answers, strict=True))
                return [found.get(asked) for asked in batch]

        thread = self._thread
        # The library rejects batches of one, so `recognizer.answer` forms them.
        self._batcher: AsyncBatcher[Asked, Prediction] = Batcher(
            max_batch_size=max(batch_size, 2), max_queue_time=wait
        )

    @cached_property
    def _readers(self) -> Executor:
        return self._until_stopped.enter_context(reading_threads())

    async def answer(self, utterance: Utterance) -> Prediction:
        """Return the prediction for one utterance.

        Raises:
            Exception: the recognizer raised it for this utterance, which is a bug in the recognizer.
        """
        async with self._places:
            loop = asyncio.get_running_loop()
            asked = Asked(await loop.run_in_executor(self._readers, self._recognizer.read, utterance))
            # Shielded, because the library drops a batch if one of its callers is cancelled.
            try:
                return await asyncio.shield(asyncio.ensure_future(self._batcher.process(asked)))
            except asyncio.CancelledError:
                asked.is_wanted = False
                raise

    async def stop(self) -> None:
        """Stop; waiting utterances are not answered."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        await self._batcher.stop(force=True)
        await asyncio.to_thread(self._until_stopped.close)
