"""One reading of all channels of a recording: speech, speakers, and the peaks of the picture."""

import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mmer.audio.load import SAMPLING_RATE, stream_channels
from mmer.audio.speech_segments import SpeechFinder
from mmer.errors import AudioError
from mmer.inference.inputs import NamedBytes
from mmer.inference.prediction import Prediction
from mmer.inference.timeline.segments import segment_name
from mmer.inference.timeline.speakers import RecordingSpeakers

PEAK = SAMPLING_RATE // 100  # samples per point of a drawn waveform, which shows the largest magnitude


class ChannelScan:
    """Reader of all channels of a recording, from its beginning to its end."""

    def __init__(
        self, audio: str | os.PathLike[str] | bytes, channels: Sequence[str], recording: str
    ) -> None:
        self.seconds = 0.0
        self._error: str | None = None
        self._channels, self._recording = channels, recording
        self._source = NamedBytes(audio, recording) if isinstance(audio, bytes) else audio
        self._peaks: list[list[NDArray[np.float32]]] = [[] for _ in channels]
        self._rest = [np.zeros(0, np.float32) for _ in channels]

    def read(
        self, finders: Sequence[SpeechFinder], who: RecordingSpeakers | None, report: Callable[[], None]
    ) -> Iterator[tuple[str, float, float]]:
        """Yield channel, start and end of each segment of speech.

        Args:
            finders: one for each channel; none to look for no speech.
            who: gets the samples too.
            report: called after each 10 s.
        """
        try:
            for blocks in stream_channels(self._source, self._channels):
                for number, block in enumerate(blocks):
                    self._keep_peaks(number, block)
                    if who is not None:
                        who.feed(self._channels[number], block)
                self.seconds += len(blocks[0]) / SAMPLING_RATE
                report()
                for channel, finder, block in zip(self._channels, finders, blocks, strict=False):
                    yield from ((channel, *segment) for segment in finder.feed(block))
        except AudioError as error:
            if not self.seconds:
                raise
            self._error = str(error)
        for channel, finder in zip(self._channels, finders, strict=False):
            yield from ((channel, *segment) for segment in finder.finish())

    def _keep_peaks(self, number: int, block: NDArray[np.float32]) -> None:
        samples = np.concatenate([self._rest[number], np.abs(block)])
        whole = len(samples) // PEAK * PEAK
        self._peaks[number].append(samples[:whole].reshape(-1, PEAK).max(axis=1))
        self._rest[number] = samples[whole:]

    def peaks(self) -> dict[str, NDArray[np.float32]]:
        """Return the `peaks` of `Timeline`."""
        return {
            channel: np.concatenate(peaks) if peaks else np.zeros(0, np.float32)
            for channel, peaks in zip(self._channels, self._peaks, strict=True)
        }

    def broken(self, duration: float) -> list[Prediction]:
        """Return a segment with the error from where the recording broke off, for each channel; none if it did not."""
        return [
            Prediction(
                utterance_id=segment_name(self._recording, self.seconds),
                start=self.seconds,
                end=max(duration, self.seconds),
                channel=channel,
                error=self._error,
            )
            for channel in self._channels
            if self._error
        ]
