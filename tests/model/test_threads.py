"""A model is safe to call from many threads: nothing of a call is kept where another one sees it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import pytest
import torch
from tiny import SPEECH_ENCODERS, speech_inputs, text_inputs, tiny_model
from torch import Tensor

from mmer.model.encoders.compact import compact_feature_extractor, compact_tokenizer
from mmer.model.processor import MMERProcessor
from mmer.recipe.model import CompactSpeech, CompactText

THREADS, ROUNDS = 4, 8
Answer = TypeVar("Answer")


def together(calls: list[Callable[[], Answer]]) -> list[list[Answer]]:
    """What each call returns, `ROUNDS` times, while the others run."""
    barrier = Barrier(len(calls))

    def repeat(call: Callable[[], Answer]) -> list[Answer]:
        barrier.wait()
        return [call() for _ in range(ROUNDS)]

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(repeat, calls))


@pytest.mark.parametrize("encoder", SPEECH_ENCODERS)
def test_each_answer_is_that_of_one_thread(encoder: str) -> None:
    model = tiny_model(encoder)
    batches = [
        speech_inputs(model, lengths, seed) | text_inputs(words, seed)
        for seed, (lengths, words) in enumerate(
            [([4800, 16_000], [2, 9]), ([9000], [4]), ([3200, 7000, 12_000], [3, 5, 2]), ([12_800], [20])]
        )
    ]

    def call(batch: dict[str, Tensor]) -> Callable[[], Tensor]:
        def answer() -> Tensor:
            with torch.inference_mode():
                return model(**batch).logits

        return answer

    calls = [call(batch) for batch in batches[:THREADS]]
    alone = [each() for each in calls]
    for expected, answers in zip(alone, together(calls), strict=True):
        for answer in answers:
            torch.testing.assert_close(answer, expected, atol=1e-5, rtol=0)


def test_activation_checkpointing_sees_the_lengths_of_its_own_batch() -> None:
    """Two graphs are alive, and the convolutions of the first run again after the second was made."""
    model = tiny_model("wav2vec2-group", freeze_feature_extractor=False).train()
    batches = [
        speech_inputs(model, lengths) | text_inputs([3, 5]) for lengths in ([4800, 9000], [9000, 3200])
    ]
    weight = model.speech_encoder.model.feature_extractor.conv_layers[0].conv.weight  # pyright: ignore

    def gradients() -> list[Tensor]:
        torch.manual_seed(0)
        sums = [model(**batch).logits.square().sum() for batch in batches]
        return [torch.autograd.grad(total, weight)[0] for total in sums]

    expected = gradients()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for found, wanted in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_a_processor_reads_for_many_threads() -> None:
    texts = [["no"], ["yes we stay", "no never go"], [None, "go"], ["we never say no to those who stay"]]
    processor = MMERProcessor(
        compact_feature_extractor(CompactSpeech()),
        compact_tokenizer([text for each in texts for text in each if text], CompactText(vocabulary_size=60)),
        labels=["a", "b"],
    )

    def call(batch: list[str | None]) -> Callable[[], list[list[int]]]:
        return lambda: processor.tokenize(batch)["input_ids"].tolist()

    calls = [call(batch) for batch in texts]
    alone = [each() for each in calls]
    assert together(calls) == [[expected] * ROUNDS for expected in alone]
