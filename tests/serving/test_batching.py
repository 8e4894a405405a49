"""Requests that are answered together, and what one of them may do to the others."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from threading import Semaphore, get_ident
from typing import Any

import pytest

from mmer.inference import EmotionRecognizer, Prediction, Utterance
from mmer.inference.reading import READERS, Clip
from mmer.serving.batching import AHEAD, Batching

WORDS = ["I never said that!", "nie wiem, co robić", "What a day", "The train leaves at nine."]
DEFECT = "Who divides by zero?"  # of which `Defective` makes one


class Defective(EmotionRecognizer):
    """A recognizer with a defect that nobody knows of yet, which counts what it is asked."""

    asked: list[int]

    @classmethod
    def make(cls, folder: Path) -> "Defective":
        """Of a model folder."""
        made = cls.from_pretrained(folder, device="cpu")
        made.asked = []
        return made

    def answer(self, clips: Sequence[Clip], **settings: Any) -> list[Prediction]:
        self.asked.append(len(clips))
        if any(clip.utterance.transcript == DEFECT for clip in clips):
            raise ZeroDivisionError
        return super().answer(clips, **settings)


def answers(
    recognizer: EmotionRecognizer, texts: list[str], cancelled: int | None = None
) -> tuple[list[Prediction | BaseException], list[int]]:
    """The answers for texts that are asked about at once, and the sizes of the batches."""
    sizes: list[int] = []

    async def ask() -> list[Prediction | BaseException]:
        batching = Batching(recognizer, batch_size=16, wait=0.05, observe=sizes.append)
        tasks = [
            asyncio.create_task(batching.answer(Utterance(None, text, utterance_id=text))) for text in texts
        ]
        if cancelled is not None:
            await asyncio.sleep(0.01)
            tasks[cancelled].cancel()
        found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
        await batching.stop()
        return found

    return asyncio.run(ask()), sizes


def test_at_once_in_one_batch_and_in_order(recognizer: EmotionRecognizer) -> None:
    found, sizes = answers(recognizer, WORDS * 4)
    assert sizes == [16]
    for prediction, text in zip(found, WORDS * 4, strict=True):
        assert isinstance(prediction, Prediction)
        assert prediction.utterance_id == text
        assert prediction.probabilities == pytest.approx(recognizer(None, text).probabilities, abs=2e-6)


def test_a_caller_who_goes_away_is_left_out_and_the_others_are_answered(
    recognizer: EmotionRecognizer,
) -> None:
    found, sizes = answers(recognizer, WORDS, cancelled=1)
    assert sizes == [3]
    assert isinstance(found[1], asyncio.CancelledError)
    assert [isinstance(prediction, Prediction) for prediction in found] == [True, False, True, True]


def test_a_defect_in_one_leaves_the_others_their_answers(versatile_folder: Path) -> None:
    """In few batches; one by one it would be 17."""
    recognizer = Defective.make(versatile_folder)
    texts = WORDS * 4
    texts[5] = DEFECT
    found, sizes = answers(recognizer, texts)
    assert sizes == [16]
    for prediction, text in zip(found, texts, strict=True):
        if text == DEFECT:
            assert isinstance(prediction, ZeroDivisionError)
        else:
            assert isinstance(prediction, Prediction)
            assert prediction.utterance_id == text
    assert sorted(recognizer.asked, reverse=True) == [16, 8, 8, 4, 4, 2, 2, 1, 1]


def test_of_a_named_speaker_the_known_clips_count_and_not_other_requests(
    per_speaker: EmotionRecognizer, clips: list[Path]
) -> None:
    recognizer = per_speaker
    asked = [Utterance(path, "la", speaker=who) for path in clips[3:5] for who in ("anna", "ben", None)]

    async def ask() -> list[Prediction]:
        batching = Batching(recognizer, batch_size=16, wait=0.05, observe=lambda size: None)
        found = await asyncio.gather(*map(batching.answer, asked))
        await batching.stop()
        return found

    for utterance, found in zip(asked, asyncio.run(ask()), strict=True):
        named = utterance.speaker == "anna"
        (alone,) = recognizer.predict([utterance], speakers=recognizer.speakers if named else {})
        assert found.probabilities == pytest.approx(alone.probabilities, abs=2e-6)
        assert found.speaker == utterance.speaker
        assert any("standardized" in warning for warning in found.warnings) == (not named)


class Slow(EmotionRecognizer):
    """A recognizer whose first answer waits until as many utterances have been read as there is room for."""

    room: int
    readers: set[int]
    seen: list[int]

    def begin(self, room: int) -> "Slow":
        """Wait for so many utterances, and see whether there is one more."""
        self.room, self.readers, self.seen, self._read = room, set(), [], Semaphore(0)
        return self

    def read(self, utterance: Utterance) -> Clip:
        clip = super().read(utterance)
        self.readers.add(get_ident())
        self._read.release()
        return clip

    def answer(self, clips: Sequence[Clip], **settings: Any) -> list[Prediction]:
        if not self.seen:
            timeouts = [30.0] * self.room + [0.3]
            self.seen.append(sum(self._read.acquire(timeout=timeout) for timeout in timeouts))
        return super().answer(clips, **settings)


def test_as_much_as_there_is_room_for_is_decoded_while_the_model_answers(
    versatile_folder: Path, clips: list[Path]
) -> None:
    room = AHEAD * 2
    recognizer = Slow.from_pretrained(versatile_folder, device="cpu").begin(room)
    asked = [Utterance(clip, "la") for clip in clips[:5]] * 4

    async def ask() -> list[Prediction]:
        batching = Batching(recognizer, batch_size=2, wait=0.01, observe=lambda size: None)
        found = await asyncio.wait_for(asyncio.gather(*map(batching.answer, asked)), 30)
        await batching.stop()
        return found

    found = asyncio.run(ask())
    assert recognizer.seen == [room]
    assert len(recognizer.readers) <= READERS
    for utterance, answer in zip(asked, found, strict=True):
        (alone,) = recognizer.predict([utterance])
        assert answer.probabilities == pytest.approx(alone.probabilities, abs=2e-6)
