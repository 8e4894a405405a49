"""Segments of speech: those of silero-vad itself, cut where they are long."""

import itertools
import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmer.audio.load import load_audio
from mmer.audio.speech_probabilities import FRAME, SpeechProbabilities
from mmer.audio.speech_segments import PADDING, SHORTEST, SpeechFinder

RATE = 16_000


@pytest.fixture(scope="module")
def monologue(clips: list[str]) -> tuple[NDArray[np.float32], list[tuple[float, float]]]:
    """Real utterances with 0.8 to 2 s of very low noise between, and where they are."""
    generator, parts, spoken, at = np.random.default_rng(0), [], [], 0.0
    for clip in random.Random(1).sample(clips, 6):
        gap = generator.normal(0, 1e-4, int(generator.uniform(0.8, 2) * RATE)).astype(np.float32)
        said = load_audio(clip)
        at += len(gap) / RATE
        spoken.append((at, at + len(said) / RATE))
        at += len(said) / RATE
        parts += [gap, said]
    return np.concatenate([*parts, np.zeros(RATE, np.float32)]), spoken


def found(samples: NDArray[np.float32], block: int = 7000, **settings: float) -> list[tuple[float, float]]:
    finder = SpeechFinder(**settings)
    segments = [
        each
        for start in range(0, len(samples), block)
        for each in finder.feed(samples[start : start + block])
    ]
    return [*segments, *finder.finish()]


def test_is_what_silero_vad_finds_in_the_whole(
    monologue: tuple[NDArray[np.float32], list[tuple[float, float]]],
) -> None:
    samples, spoken = monologue
    from silero_vad import get_speech_timestamps, load_silero_vad

    whole = get_speech_timestamps(
        torch.from_numpy(samples), load_silero_vad(), min_silence_duration_ms=500, speech_pad_ms=100
    )
    expected = [(each["start"] / RATE, each["end"] / RATE) for each in whole]
    assert len(expected) == len(spoken)
    for block in (511, len(samples)):
        np.testing.assert_allclose(found(samples, block), expected, atol=1e-4)
    for (start, end), (first, last) in zip(found(samples), spoken, strict=True):
        assert start == pytest.approx(first, abs=0.35)
        assert end == pytest.approx(last, abs=0.35)


@pytest.mark.parametrize("pieces", [[1], [3, 0, 40, 7]])
def test_probabilities_are_those_of_silero_vad_however_many_frames_come_at_once(
    monologue: tuple[NDArray[np.float32], list[tuple[float, float]]], pieces: list[int]
) -> None:
    from silero_vad import load_silero_vad

    samples, _ = monologue
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)[:400]
    silero: Any = load_silero_vad()
    with torch.inference_mode():
        expected = [silero(torch.from_numpy(frame), RATE).item() for frame in frames]
    judge, found, at = SpeechProbabilities(), list[float](), 0
    for count in itertools.cycle(pieces):
        found += judge(frames[at : at + count])
        at += count
        if at >= len(frames):
            break
    assert min(expected) < 0.1
    assert max(expected) > 0.9
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_long_speech_is_cut_and_nothing_of_it_lost(
    monologue: tuple[NDArray[np.float32], list[tuple[float, float]]],
) -> None:
    samples, _ = monologue
    whole, cut = found(samples), found(samples, longest=1.5)
    assert max(end - start for start, end in cut) <= 1.5
    assert len(cut) > len(whole)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(cut))
    for start, end in whole:
        inside = [part for part in cut if start - 1e-6 <= part[0] < end]
        missed = (end - start) - sum(last - first for first, last in inside)
        assert missed <= 0.3  # of the padding, and of silence at a cut


def test_there_may_be_no_speech() -> None:
    assert found(np.zeros(3 * RATE, np.float32)) == []
    assert found(np.zeros(0, np.float32)) == []
    assert found(np.zeros(100, np.float32)) == []


def test_speech_at_both_ends_of_the_recording(clips: list[str]) -> None:
    said = load_audio(clips[3])
    ((start, end),) = found(said)
    assert 0 <= start < 0.4
    assert len(said) / RATE - 0.6 < end <= len(said) / RATE


def test_what_others_set_for_the_whole_process_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("silero_vad")]:
        monkeypatch.delitem(sys.modules, name)  # it sets the threads when it is imported
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        SpeechFinder()
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


class Told(SpeechFinder):
    """Frames whose probabilities are given, one by one."""

    def __init__(self, probabilities: Sequence[float], **settings: float) -> None:
        with pytest.MonkeyPatch.context() as patch:
            values: Iterator[float] = iter(probabilities)
            patch.setattr(
                "mmer.audio.speech_segments.SpeechProbabilities",
                lambda: lambda frames: [next(values) for _ in frames],
            )
            super().__init__(**settings)

    @staticmethod
    def segments(probabilities: Sequence[float], **settings: float) -> list[tuple[int, int]]:
        """In frames, with the padding of about three; parts that touch were cut."""
        finder = Told(probabilities, **settings)
        samples = np.zeros(512 * len(probabilities), np.float32)
        return [
            (round(start * 31.25), round(end * 31.25))
            for start, end in [*finder.feed(samples), *finder.finish()]
        ]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([(0, 10), (1, 8), (0, 30)], [(7, 21)]),
        ([(0, 10), (1, 7), (0, 30)], []),  # 0.22 s
        ([(0, 10), (1, 10), (0.4, 30), (1, 10), (0, 30)], [(7, 63)]),  # neither speech nor silence
        ([(0.4, 10), (1, 10), (0.4, 30)], [(7, 50)]),
        ([(0, 10), (1, 10), (0, 16), (1, 10), (0, 30)], [(7, 49)]),
        ([(0, 10), (1, 10), (0, 17), (1, 10), (0, 30)], [(7, 23), (34, 50)]),
        ([(0, 10), (1, 10), (0, 10)], [(7, 23)]),
        ([(1, 10), (0, 1)], [(0, 11)]),
    ],
)
def test_speech_and_silence_by_hand(runs: list[tuple[float, int]], expected: list[tuple[int, int]]) -> None:
    assert Told.segments([value for value, frames in runs for _ in range(frames)]) == expected


def test_what_is_left_of_a_cut_is_speech_however_short_it_is() -> None:
    said = [*[0.0] * 10, *[1.0] * 25, *[0.5] * 7, *[0.0] * 30]
    assert Told.segments(said, longest=30.5 / 31.25 + 2 * PADDING) == [(7, 39), (39, 45)]


def test_what_is_under_way() -> None:
    finder = Told([*[0.0] * 10, *[1.0] * 10, *[0.0] * 30])
    seen = []
    for _ in range(50):
        list(finder.feed(np.zeros(512, np.float32)))
        seen.append(finder.under_way)
    start = 10 / 31.25 - PADDING
    assert seen == [None] * 10 + [pytest.approx(start)] * 26 + [None] * 14


def test_a_cut_goes_through_the_clearest_pause() -> None:
    speech = [0.9] * 60
    speech[40:46] = [0.2] * 6
    speech[10:18] = [0.0] * 8  # clearer, but in the first half
    ((_, cut), (again, _)) = Told.segments([*speech, *[0.0] * 30], longest=60 / 31.25 + 2 * PADDING)
    assert cut == again
    assert 40 <= cut <= 46


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.4, 0.45, 0.6, 1.0]), st.integers(1, 30)), max_size=20),
    st.floats(1.0, 5.0),
    st.floats(0.05, 1.0),
    st.integers(0, 511),
)
@example([(0.6, 8)], 1.0, 1.0, 96)  # as long as the shortest speech
@example([(1.0, 24), (0.0, 1)], 1.0, 0.5, 500)  # too long at the end, in the middle of a frame
def test_segments_are_in_order_within_bounds_and_hold_all_long_speech(
    runs: list[tuple[float, int]], longest: float, pause: float, missing: int
) -> None:
    probabilities = [value for value, frames in runs for _ in range(frames)]
    finder = Told(probabilities, longest=longest, pause=pause)
    samples = np.zeros(max(512 * len(probabilities) - missing, 0), np.float32)
    segments = [*finder.feed(samples), *finder.finish()]
    length = len(samples) / RATE
    for start, end in segments:
        assert 0 <= start < end <= length + 1e-9
        assert end - start <= longest + 1e-9
    for (_, end), (start, _) in itertools.pairwise(segments):
        assert end <= start + 1e-9
    at = 0
    for value, frames in runs:
        first, last = at / 31.25, min((at + frames) / 31.25, length)
        if value >= 0.5 and last - first > SHORTEST + 1e-9:
            held = sum(max(0.0, min(end, last) - max(start, first)) for start, end in segments)
            assert held == pytest.approx(last - first)
        at += frames
