"""Listening to real recordings as they come, in this process and in one of its own."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from queue import Queue

import numpy as np
import pytest
import soundfile
from commands import Outcome, run
from numpy.typing import NDArray
from processes import Process

from mmer.audio.load import load_audio
from mmer.errors import MMERError
from mmer.inference import EmotionRecognizer, Utterance
from mmer.inference.listen import KEPT, Heard, Listener, listen, microphone, pipe
from mmer.inference.timeline.timeline import timeline

RATE = 16_000


@pytest.fixture(scope="module")
def speech(clips: list[str]) -> NDArray[np.float32]:
    """Three utterances with 1 s of silence around each, as 16-bit samples hold them."""
    silence = np.zeros(RATE, np.float32)
    parts = [part for clip in clips[:3] for part in (silence, load_audio(clip))]
    samples = np.concatenate([*parts, silence])
    return (np.round(samples * 32767) / 32768).astype(np.float32)


def heard_in(listener: Listener, samples: NDArray[np.float32], block: int = 800) -> Iterator[Heard]:
    for start in range(0, len(samples), block):
        yield from listener.feed(samples[start : start + block], time.monotonic())
    yield from listener.finish()


@pytest.mark.parametrize("block", [100, 800, 30_000])
def test_final_answers_are_those_of_a_timeline(
    recognizer: EmotionRecognizer, speech: NDArray[np.float32], tmp_path: Path, block: int
) -> None:
    soundfile.write(tmp_path / "speech.wav", speech, RATE, subtype="FLOAT")
    expected = timeline(recognizer, tmp_path / "speech.wav").segments
    got = [heard.prediction for heard in heard_in(Listener(recognizer, interval=0), speech, block)]
    assert len(got) == 3
    assert [(p.start, p.end) for p in got] == [(p.start, p.end) for p in expected]
    for one, other in zip(got, expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_provisional_answers_are_of_what_was_said_so_far(
    recognizer: EmotionRecognizer, speech: NDArray[np.float32]
) -> None:
    answers = list(heard_in(Listener(recognizer, interval=0.5), speech))
    finals = [heard for heard in answers if heard.final]
    assert len(finals) == 3
    assert len(answers) > 6
    for before, after in pairwise(answers):
        first, second = before.prediction, after.prediction
        if not before.final:
            assert first.start == second.start
            assert first.utterance_id == second.utterance_id
            if not after.final:
                assert (second.end or 0) - (first.end or 0) == pytest.approx(0.5, abs=0.09)
    for heard in answers[:3]:
        start, end = (round((s or 0) * RATE) for s in (heard.prediction.start, heard.prediction.end))
        (alone,) = recognizer.predict([Utterance(speech[start:end], sampling_rate=RATE)])
        assert heard.prediction.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


def test_no_provisional_answers_where_there_is_no_time(
    recognizer: EmotionRecognizer, speech: NDArray[np.float32]
) -> None:
    listener = Listener(recognizer, interval=0.2)
    answers = list(listener.feed(speech, 0.0, provisional=False))
    assert [heard.final for heard in answers] == [True] * 3


def test_the_delay_counts_from_the_end_of_speech(
    recognizer: EmotionRecognizer, speech: NDArray[np.float32]
) -> None:
    listener = Listener(recognizer, interval=0)
    began, delays = time.monotonic() - 100, []
    for start in range(0, len(speech), 800):
        # As if the samples had come as fast as they are played, from 100 s ago on.
        delays += list(listener.feed(speech[start : start + 800], began + (start + 800) / RATE))
    now = time.monotonic()
    assert len(delays) == 3
    for heard in delays:
        ended = (heard.prediction.end or 0) - 0.1
        assert heard.delay == pytest.approx(now - began - ended, abs=now - began - 100 + 0.2)


def test_memory_holds_the_utterance_under_way_alone(
    recognizer: EmotionRecognizer, speech: NDArray[np.float32]
) -> None:
    listener = Listener(recognizer)
    list(listener.feed(np.concatenate([speech] * 3), 0.0))
    for _ in range(20):
        list(listener.feed(np.zeros(RATE, np.float32), 0.0))
    assert len(listener._samples) <= (KEPT + 0.1) * RATE
    assert len(listener._came) <= 3
    assert listener.seconds == pytest.approx(3 * len(speech) / RATE + 20)


def test_speech_without_pause_is_answered_in_parts(
    recognizer_of: Callable[..., EmotionRecognizer], clips: list[str]
) -> None:
    samples = np.concatenate([load_audio(clip) for clip in clips[:6]])
    answers = list(heard_in(Listener(recognizer_of(max_duration=2.0), interval=0), samples))
    assert len(answers) >= 4
    assert all(heard.prediction.error is None for heard in answers)
    assert max(heard.prediction.duration or 0 for heard in answers) <= 2.0


def test_a_pipe_of_odd_pieces_and_another_rate(recognizer: EmotionRecognizer) -> None:
    reader, writer = os.pipe()
    values = (1000 * np.sin(np.arange(8000) / 20)).astype("<i2")
    with os.fdopen(reader, "rb") as stream, pipe(stream, 8000) as chunks:
        data = values.tobytes()
        got = []
        for start in range(0, len(data), 333):
            os.write(writer, data[start : start + 333])
            chunk = chunks.get()  # so that the next piece is read by itself
            assert chunk is not None
            got.append(chunk[0])
        os.close(writer)
        while (chunk := chunks.get()) is not None:
            got.append(chunk[0])
    assert len(np.concatenate(got)) == pytest.approx(16_000, abs=200)
    middle = np.concatenate(got)[4000:12_000]
    assert np.abs(middle).max() == pytest.approx(1000 / 32768, rel=0.01)


def test_the_end_of_a_pipe(recognizer: EmotionRecognizer, speech: NDArray[np.float32]) -> None:
    reader, writer = os.pipe()
    data = (speech * 32768).astype("<i2").tobytes()
    with os.fdopen(reader, "rb") as stream, pipe(stream, RATE) as chunks:
        listener = Listener(recognizer, interval=0)
        for start in range(0, len(data), 20_000):
            os.write(writer, data[start : start + 20_000])
        os.close(writer)
        answers = list(listen(listener, chunks))
    assert [heard.final for heard in answers] == [True] * 3
    assert listener.seconds == pytest.approx(len(speech) / RATE)


def test_somebody_stops_it(recognizer: EmotionRecognizer, speech: NDArray[np.float32]) -> None:
    chunks: Queue[tuple[NDArray[np.float32], float] | None] = Queue()
    chunks.put((speech[: 2 * RATE], time.monotonic()))
    stops = iter([False, False, True])
    (heard,) = listen(Listener(recognizer, interval=0), chunks, lambda: next(stops))
    assert heard.final
    assert heard.prediction.end == pytest.approx(2.0, abs=0.05)


def speak(process: Process, samples: NDArray[np.float32]) -> None:
    """At five times the speed of speech."""
    data = (samples * 32768).astype("<i2").tobytes()
    for start in range(0, len(data), 3200):
        process.stdin.write(data[start : start + 3200])
        process.stdin.flush()
        time.sleep(0.02)


def test_a_real_process(model_folder: Path, speech: NDArray[np.float32]) -> None:
    command = ["listen", model_folder, "-", "--device", "cpu", "--every", "0.5"]
    with Process(*command, stdin=None, stdout=None) as process:
        assert process.stderr.readline() == "listening; Ctrl-C ends it\n"
        speak(process, speech)
        answers: list[dict[str, object]] = []
        while sum(bool(answer["final"]) for answer in answers) < 3:  # the pipe is open still
            answers.append(json.loads(process.stdout.readline()))
        speak(process, speech[: 2 * RATE])
        process.send_signal(signal.SIGINT)
        rest = [json.loads(line) for line in process.stdout.read().splitlines()]
        summary = process.stderr.read()
        assert process.wait() == 0
    assert not answers[0]["final"]
    assert all(float(str(answer["delay"])) > 0 for answer in answers)
    assert sum(bool(answer["final"]) for answer in rest) == 1  # of what was being said
    assert summary.startswith("4 utterances in")
    assert "after the end of speech, at most" in summary
    assert len(summary.splitlines()) == 1


def test_what_a_user_can_get_wrong(
    model_folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mmer(*arguments: object) -> Outcome:
        return run(capfd, monkeypatch, arguments)

    wrong = mmer("listen", model_folder, "call.wav")
    assert wrong.code == 2
    assert (
        wrong.err == "mmer: listening to call.wav: give - for standard input, or nothing for the microphone\n"
    )
    with pytest.raises(MMERError) as caught, microphone("no such microphone"):
        pass
    assert any(word in str(caught.value) for word in ("PortAudio", "no such microphone", ".[listen]"))
    assert "\n" not in str(caught.value)
