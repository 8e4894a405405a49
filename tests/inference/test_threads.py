"""A recognizer answers many threads as it answers one, and while it explains."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mmer.inference import EmotionRecognizer
from mmer.inference.explain.explain import explain
from mmer.inference.inputs import Utterance


def test_answers_are_right_while_others_ask_and_one_is_explained(recognizer: EmotionRecognizer) -> None:
    pytest.importorskip("captum")
    noise = np.random.default_rng(0)
    asked = [
        Utterance(0.1 * noise.standard_normal(length).astype(np.float32), words, sampling_rate=16_000)
        for length, words in (
            (6000, "what a day"),
            (16_000, "I never said that!"),
            (9000, "The train leaves."),
        )
    ]

    def probabilities(utterance: Utterance) -> list[float]:
        (prediction,) = recognizer.predict([utterance])
        assert prediction.probabilities is not None, prediction.error
        return list(prediction.probabilities.values())

    expected = [probabilities(utterance) for utterance in asked]
    with ThreadPoolExecutor(4) as threads:
        explained = threads.submit(explain, recognizer, asked[0])
        answers = [threads.submit(probabilities, asked[i % 3]) for i in range(60)]
        for i, answer in enumerate(answers):
            assert answer.result() == pytest.approx(expected[i % 3], abs=1e-5)
        told = explained.result().prediction.probabilities
    assert told is not None
    assert list(told.values()) == pytest.approx(expected[0], abs=1e-5)
