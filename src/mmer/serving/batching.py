"""Requests that come at the same time are answered together."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from mmer.extras import import_extra
from mmer.inference.inputs import Utterance
from mmer.inference.output import Prediction
from mmer.inference.recognizer import EmotionRecognizer

if TYPE_CHECKING:
    from async_batcher.batcher import AsyncBatcher


class Batching:
    """Answers single utterances in batches, one batch at a time.

    While a batch is computed the next one gathers. An utterance that finds the model idle waits `wait` seconds for
    company, at most twice that if some comes. Answers do not depend on the batch; an utterance that cannot be answered
    does not disturb the others.

    Args:
        recognizer: answers; utterances must not name speakers, whose clips would be standardized together.
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
        library = import_extra("async_batcher.batcher", "mmer serve", "serve")

        def answer_all(batch: list[Utterance]) -> list[Prediction | Exception]:
            observe(len(batch))
            try:
                return list(recognizer.predict(batch, batch_size=batch_size))
            except Exception:
                return [answer_alone(utterance) for utterance in batch]

        def answer_alone(utterance: Utterance) -> Prediction | Exception:
            try:
                return next(recognizer.predict([utterance]))
            except Exception as error:
                return error

        class Batcher(library.AsyncBatcher):
            async def process_batch(self, batch: list[Utterance]) -> list[Prediction | Exception]:
                return await asyncio.to_thread(answer_all, batch)

        # The library refuses batches of one, which `recognizer.predict` then makes.
        self._batcher: AsyncBatcher[Utterance, Prediction] = Batcher(
            max_batch_size=max(batch_size, 2), max_queue_time=wait
        )

    async def answer(self, utterance: Utterance) -> Prediction:
        """The prediction for one utterance.

        Raises:
            Exception: what the recognizer raised for this utterance, which is a defect of it.
        """
        # Shielded, because the library leaves a batch unanswered if one of its callers has been cancelled.
        return await asyncio.shield(asyncio.ensure_future(self._batcher.process(utterance)))

    async def stop(self) -> None:
        """End; what is still waiting is not answered."""
        await self._batcher.stop(force=True)
