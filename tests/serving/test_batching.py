"""Requests that are answered together, and what one of them may do to the others."""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mmer.inference import EmotionRecognizer, Prediction, Utterance
from mmer.serving.batching import Batching

WORDS = ["I never said that!", "nie wiem, co robić", "What a day", "The train leaves at nine."]
DEFECT = "\ud800"  # half a character, which no tokenizer takes; requests with one are refused before


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


def test_a_defect_in_one_leaves_the_others_their_answers(recognizer: EmotionRecognizer) -> None:
    found, _ = answers(recognizer, [WORDS[0], DEFECT, WORDS[2]])
    assert isinstance(found[1], Exception)
    for number in (0, 2):
        prediction = found[number]
        assert isinstance(prediction, Prediction)
        assert prediction.utterance_id == WORDS[number]


def test_what_is_beside_a_defect_is_answered_in_few_batches(versatile_folder: Path) -> None:
    """One by one it would be 17 more."""
    asked: list[int] = []

    class Counting(EmotionRecognizer):
        def predict(self, items: Iterable[Any], **settings: Any) -> Iterator[Prediction]:
            asked.append(len(items := list(items)))
            yield from super().predict(items, **settings)

    recognizer = Counting.from_pretrained(versatile_folder, device="cpu")
    texts = WORDS * 4
    texts[5] = DEFECT
    found, sizes = answers(recognizer, texts)
    assert sizes == [16]
    assert [isinstance(prediction, Prediction) for prediction in found] == [text != DEFECT for text in texts]
    assert sorted(asked, reverse=True) == [16, 8, 8, 4, 4, 2, 2, 1, 1]


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
