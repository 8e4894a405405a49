"""Requests that come at the same time are answered together."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmer.extras import import_extra
from mmer.inference.inputs import Utterance
from mmer.inference.prediction import Prediction
from mmer.inference.recognizer import EmotionRecognizer

if TYPE_CHECKING:
    from async_batcher.batcher import AsyncBatcher


@dataclass(eq=False, slots=True)
class Asked:
    """An utterance, and whether somebody still waits for its answer."""

    utterance: Utterance
    is_wanted: bool = True


class Batching:
    """Answers single utterances in batches, one batch at a time, in a thread of their own.

    While a batch is computed the next one gathers. An utterance that finds the model idle waits up to `wait` seconds
    for more of them, at most twice that if some come. Answers do not depend on the batch; an utterance that cannot be
    answered does not disturb the others, and one whose caller has been cancelled is left out.

    Args:
        recognizer: answers; of a named speaker the clips count that it knows, not those that are asked about.
        batch_size: utterances in a batch, at most.
        wait: seconds.
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
        self._thread = ThreadPoolExecutor(1, "mmer-batches")

        def answer_all(utterances: list[Utterance]) -> list[Prediction | Exception]:
            """Halve a batch until what fails in it is alone."""
            try:
                known = recognizer.speakers
                return list(recognizer.predict(utterances, batch_size=batch_size, speakers=known))
            except Exception as error:
                if len(utterances) == 1:
                    return [error]
                half = len(utterances) // 2
                return answer_all(utterances[:half]) + answer_all(utterances[half:])

        class Batcher(library.AsyncBatcher):
            async def process_batch(self, batch: list[Asked]) -> list[Prediction | Exception | None]:
                wanted = [asked for asked in batch if asked.is_wanted]
                if not wanted:
                    return [None] * len(batch)
                observe(len(wanted))
                utterances = [asked.utterance for asked in wanted]
                loop = asyncio.get_running_loop()
                answers = await loop.run_in_executor(thread, answer_all, utterances)
                found = dict(zip(wanted, answers, strict=True))
                return [found.get(asked) for asked in batch]

        thread = self._thread
        # The library refuses batches of one, which `recognizer.predict` then makes.
        self._batcher: AsyncBatcher[Asked, Prediction] = Batcher(
            max_batch_size=max(batch_size, 2), max_queue_time=wait
        )

    async def answer(self, utterance: Utterance) -> Prediction:
        """The prediction for one utterance.

        Raises:
            Exception: what the recognizer raised for this utterance, which is a defect of it.
        """
        asked = Asked(utterance)
        # Shielded, because the library leaves a batch unanswered if one of its callers has been cancelled.
        try:
            return await asyncio.shield(asyncio.ensure_future(self._batcher.process(asked)))
        except asyncio.CancelledError:
            asked.is_wanted = False
            raise

    async def stop(self) -> None:
        """End; what is still waiting is not answered."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        await self._batcher.stop(force=True)
