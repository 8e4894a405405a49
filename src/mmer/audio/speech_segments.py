"""Where somebody speaks in a recording of any length, found by silero-vad while it is read."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmer.audio.load import SAMPLING_RATE
from mmer.audio.speech_probabilities import FRAME, SpeechProbabilities

SECOND = SAMPLING_RATE / FRAME  # frames
# probabilities of speech from which it begins, and below which it ends; silero-vad's own
SPEECH, SILENCE = 0.5, 0.35
SHORTEST = 0.25  # s of speech; less is a click or a cough
PADDING = 0.1  # s before and after speech, where a consonant is easily missed
PAUSE = 0.5  # s of silence that ends a segment
DIP = 0.3  # s over which the probability of speech is averaged to find a pause to cut at


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a recording in which somebody speaks.

    Attributes:
        start, end: seconds.
        channel: of the recording, as in `Utterance`.
        speaker: who speaks; None where nobody knows.
        transcript: what is said; None where nobody wrote it down.
    """

    start: float
    end: float
    channel: str = "mix"
    speaker: str | None = None
    transcript: str | None = None


class SpeechFinder:
    """Finds segments of speech in a stream of samples, keeping no more of it than the segment under way.

    Speech begins with a frame (32 ms) whose probability of speech is `SPEECH` or more. It ends with the first frame
    below `SILENCE` that is followed by `pause` seconds without a frame of speech. Less than `SHORTEST` is no speech.
    Segments are padded by `PADDING` on both sides.

    Speech that goes on for `longest` seconds is cut at its clearest pause: where there is silence at that moment,
    there; otherwise in the second half of what there is, at the frame around which the probability of speech,
    averaged over `DIP`, is lowest. Both parts touch there, so that nothing is lost.

    Args:
        pause: seconds.
        longest: seconds, the most that a segment may have, padding included; at least 1.
    """

    def __init__(self, *, pause: float = PAUSE, longest: float | None = None) -> None:
        self._probabilities = SpeechProbabilities()
        self._pause = ceil(pause * SECOND)
        self._limit = inf if longest is None else int((longest - 2 * PADDING) * SECOND)
        self._rest = np.zeros(0, np.float32)
        self._frame = 0  # index of the next one
        self._speech: list[float] = []  # probabilities since the beginning of the segment under way
        self._first = 0  # frame in which that begins
        self._continues = False  # whether it was cut from the one before
        self._quiet: int | None = None  # frame from which there is silence
        self._previous_end = 0.0

    @property
    def under_way(self) -> float | None:
        """Seconds at which the segment begins that is not finished; None in silence."""
        return self._start() if self._speech else None

    @property
    def position(self) -> float:
        """Seconds that have been judged."""
        return self._frame / SECOND

    def feed(self, samples: NDArray[np.float32]) -> Iterator[tuple[float, float]]:
        """Judge the next samples.

        Args:
            samples: (samples,) at 16 kHz, full scale = ±1.

        Yields:
            Start and end in seconds of each segment that is finished.
        """
        self._rest = np.concatenate([self._rest, samples])
        whole = len(self._rest) // FRAME * FRAME
        frames, self._rest = self._rest[:whole].reshape(-1, FRAME), self._rest[whole:]
        for probability in self._probabilities(frames):
            yield from self._judge(probability)

    def finish(self) -> Iterator[tuple[float, float]]:
        """Judge what is left at the end of the stream; as `feed`."""
        length = self.position + len(self._rest) / SAMPLING_RATE
        if len(self._rest):
            last = np.pad(self._rest, (0, FRAME - len(self._rest)))
            for probability in self._probabilities(last[None]):
                for start, end in self._judge(probability):
                    yield start, min(end, length)
        if self._speech:
            end = length if self._quiet is None else self._quiet / SECOND
            yield from self._end(end, limit=length)

    def _judge(self, probability: float) -> Iterator[tuple[float, float]]:
        self._frame += 1
        if not self._speech:
            if probability < SPEECH:
                return
            self._first, self._continues = self._frame - 1, False
        self._speech.append(probability)
        if probability >= SPEECH:
            self._quiet = None
        elif probability < SILENCE:
            if self._quiet is None:
                self._quiet = self._frame - 1
            if self._frame - 1 - self._quiet >= self._pause:
                yield from self._end(self._quiet / SECOND, limit=self.position)
                return
        if len(self._speech) < self._limit:
            return
        if self._quiet is not None:
            yield from self._end(self._quiet / SECOND, limit=self.position)
        else:
            cut = self._first + _clearest_pause(self._speech)
            yield self._start(), cut / SECOND
            self._previous_end = cut / SECOND
            self._speech = self._speech[cut - self._first :]
            self._first, self._continues = cut, True

    def _end(self, end: float, limit: float) -> Iterator[tuple[float, float]]:
        start = self._start()
        if end - self._first / SECOND > (0 if self._continues else SHORTEST):
            self._previous_end = min(end + PADDING, limit)
            yield start, self._previous_end
        self._speech, self._quiet = [], None

    def _start(self) -> float:
        begin = self._first / SECOND
        return begin if self._continues else max(begin - PADDING, self._previous_end)


def _clearest_pause(probabilities: ArrayLike) -> int:
    """Find the frame of the second half around which there is least speech."""
    values = np.asarray(probabilities)
    width = round(DIP * SECOND)
    averaged = np.convolve(np.pad(values, width // 2, mode="edge"), np.ones(width) / width, mode="valid")
    half = len(values) // 2
    return half + int(np.argmin(averaged[half : len(values)]))
