"""Answer while somebody speaks, from a microphone, a pipe, or samples as they arrive."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import Empty, Queue
from threading import Thread
from typing import Any, BinaryIO, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from mmer.audio.checks import check_seconds
from mmer.audio.load import SAMPLING_RATE
from mmer.audio.speech_segments import PADDING, PAUSE, SpeechFinder
from mmer.errors import AudioError, MissingExtraError
from mmer.extras import import_extra
from mmer.features.preprocessor import Preprocessor
from mmer.inference.inputs import Utterance
from mmer.inference.prediction import Prediction

INTERVAL = 1.0  # s of speech between provisional answers
KEPT = 1.0  # s of silence that are remembered, since speech begins before it is noticed
PIECE = 0.05  # s that are read at a time
Chunk = tuple[NDArray[np.float32], float]
"""Samples (samples,) at 16 kHz, and when they came (`time.monotonic`)."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer to an utterance of a stream.

    Attributes:
        prediction: `start` and `end` are seconds since listening began.
        final: whether the utterance is over; otherwise more answers to it follow.
        delay: seconds of wall-clock time between the arrival of the last speech and the answer; for a provisional
            answer, since the arrival of its last sample.
    """

    prediction: Prediction
    final: bool
    delay: float

    def to_dict(self) -> dict[str, Any]:
        """Convert all attributes, and those of the prediction, to what JSON can hold."""
        return {**self.prediction.to_dict(), "final": self.final, "delay": self.delay}


class Predictor(Protocol):
    """Interface that `Listener` needs: `EmotionRecognizer`, or a queue in front of one."""

    @property
    def processor(self) -> Preprocessor:
        """Return the processor of the model."""
        ...

    def predict(self, items: Iterable[Utterance]) -> Iterator[Prediction]:
        """Predict the emotion of each utterance, in order."""
        ...


class Listener:
    """Answers each utterance in a stream when it ends, and provisionally while it goes on.

    Memory holds the utterance under way. `SpeechFinder` cuts an utterance that is longer than the model takes.

    Args:
        recognizer: answers one utterance at a time. Since the other utterances of a speaker are not known yet, a model
            that standardizes per speaker uses the statistics of each utterance.
        pause: seconds of silence that end an utterance.
        interval: seconds of speech between provisional answers; 0 for none.

    Raises:
        MMERError: `pause` or `interval` is no number of seconds.
    """

    def __init__(self, recognizer: Predictor, *, pause: float = PAUSE, interval: float = INTERVAL) -> None:
        self._recognizer = recognizer
        check_seconds(pause, "pause")
        check_seconds(interval, "interval")
        self._finder = SpeechFinder(pause=pause, longest=recognizer.processor.max_duration)
        self._interval = interval
        self._samples = np.zeros(0, np.float32)
        self._first = 0  # number of the first of these samples
        self._came: deque[tuple[float, float]] = deque()  # seconds up to which samples had come, and when
        self._utterances = 0
        self._next = 0.0  # seconds at which the next provisional answer is due

    @property
    def seconds(self) -> float:
        """Seconds of sound fed so far."""
        return (self._first + len(self._samples)) / SAMPLING_RATE

    def feed(self, samples: NDArray[np.float32], came: float, *, provisional: bool = True) -> Iterator[Heard]:
        """Take the next samples and yield the answers that are due.

        Args:
            samples: (samples,) at 16 kHz, full scale = ±1.
            came: when they arrived, by `time.monotonic`.
            provisional: whether there is time for a provisional answer.
        """
        self._samples = np.concatenate([self._samples, samples])
        self._came.append((self.seconds, came))
        for start, end in self._finder.feed(samples):
            yield self._final(start, end)
        begun = self._finder.under_way
        if begun is None:
            self._next = 0.0
        elif self._interval and provisional:
            self._next = self._next or begun + PADDING + self._interval
            if self._finder.position >= self._next:
                self._next = self._finder.position + self._interval
                yield self._answer(begun, self._finder.position, final=False, heard=self._finder.position)
        self._forget(self.seconds - KEPT if begun is None else min(begun, self.seconds - KEPT))

    def finish(self) -> Iterator[Heard]:
        """Answer the utterance under way at the end of the stream."""
        for start, end in self._finder.finish():
            yield self._final(start, end)

    def _final(self, start: float, end: float) -> Heard:
        heard = self._answer(start, end, final=True, heard=max(end - PADDING, start))
        self._utterances += 1
        self._next = 0.0
        return heard

    def _answer(self, start: float, end: float, *, final: bool, heard: float) -> Heard:
        first, last = (round(seconds * SAMPLING_RATE) - self._first for seconds in (start, end))
        utterance = Utterance(
            self._samples[max(first, 0) : last],
            sampling_rate=SAMPLING_RATE,
            utterance_id=f"utterance {self._utterances + 1}",
        )
        (prediction,) = self._recognizer.predict([utterance])
        came = next((when for seconds, when in self._came if seconds >= heard), self._came[-1][1])
        return Heard(replace(prediction, start=start, end=end), final, time.monotonic() - came)

    def _forget(self, before: float) -> None:
        """Drop the samples before this many seconds."""
        unneeded = max(int(before * SAMPLING_RATE) - self._first, 0)
        self._samples = self._samples[unneeded:]
        self._first += unneeded
        while len(self._came) > 1 and self._came[0][0] < before:
            self._came.popleft()


def listen(
    listener: Listener, chunks: "Queue[Chunk | None]", stopped: Callable[[], bool] = lambda: False
) -> Iterator[Heard]:
    """Yield answers until the stream ends or `stopped` returns true.

    Args:
        listener: is fed all chunks; gives no provisional answers while more chunks wait.
        chunks: samples, (samples,) each, and when they arrived; None ends the stream.
        stopped: called ten times a second.
    """
    while not stopped():
        try:
            chunk = chunks.get(timeout=0.1)
        except Empty:
            continue
        if chunk is None:
            break
        yield from listener.feed(*chunk, provisional=chunks.empty())
    yield from listener.finish()


@contextmanager
def pipe(stream: BinaryIO, sampling_rate: int) -> "Iterator[Queue[Chunk | None]]":
    """Read a pipe in a thread of its own, so that the arrival of each chunk can be timed.

    Args:
        stream: 16-bit samples, little-endian, mono.
        sampling_rate: Hz.
    """
    chunks: Queue[Chunk | None] = Queue()

    def read() -> None:
        convert, rest = Resampler(sampling_rate), b""
        while data := os.read(stream.fileno(), 2 * round(PIECE * sampling_rate)):
            came, data = time.monotonic(), rest + data
            whole = len(data) // 2 * 2
            rest = data[whole:]
            chunks.put(
                (convert(np.frombuffer(data[:whole], "<i2").astype(np.float32) / np.float32(32768)), came)
            )
        chunks.put((convert(np.zeros(0, np.float32), last=True), time.monotonic()))
        chunks.put(None)

    # A reader that waits for a pipe nobody closes does not keep the program from ending.
    Thread(target=read, daemon=True).start()
    yield chunks


@contextmanager
def microphone(name: str | None = None) -> "Iterator[Queue[Chunk | None]]":
    """Record from a microphone.

    Args:
        name: number or part of the name of an input device; None for the system's default.

    Raises:
        MissingExtraError: sounddevice is not installed.
        AudioError: PortAudio is not installed, or there is no such microphone.
    """
    try:
        sounddevice: Any = import_extra("sounddevice", "listening to a microphone", "listen")
    except MissingExtraError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise AudioError(
            "listening to a microphone needs the library PortAudio; install it (Debian: apt install libportaudio2), or "
            "send 16-bit samples to standard input"
        ) from None
    chunks: Queue[Chunk | None] = Queue()
    device = int(name) if name is not None and name.isdecimal() else name
    try:
        rate = round(sounddevice.query_devices(device, "input")["default_samplerate"])
        convert = Resampler(rate)
        stream = sounddevice.InputStream(
            samplerate=rate,
            device=device,
            channels=1,
            dtype="float32",
            blocksize=round(PIECE * rate),
            callback=lambda data, *_: chunks.put((convert(data[:, 0].copy()), time.monotonic())),
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        inputs = [
            f"{each['index']} {each['name']}"
            for each in sounddevice.query_devices()
            if each["max_input_channels"]
        ]
        reason = str(error).splitlines()[0]
        raise AudioError(
            f"microphone {name or 'of the system'} cannot be opened ({reason}); there is {'; '.join(inputs) or 'none'}"
        ) from None
    with stream:
        yield chunks


class Resampler:
    """Resamples a stream to 16 kHz.

    Args:
        rate: Hz of the samples that arrive.
    """

    def __init__(self, rate: int) -> None:
        same = rate == SAMPLING_RATE
        self._stream = None if same else soxr.ResampleStream(rate, SAMPLING_RATE, 1, "float32", "HQ")

    def __call__(self, samples: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        """Resample the next chunk, (samples,), to (samples,) at 16 kHz; `last` flushes the resampler."""
        return samples if self._stream is None else self._stream.resample_chunk(samples, last=last)
