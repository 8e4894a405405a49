"""Summaries of a timeline: shares of time, means, trends, longest stretches and peaks, of each voice and of all."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from mmer.inference.prediction import Prediction, Row
from mmer.inference.timeline.segments import segment_end, segment_start, voice
from mmer.studentized import FEWEST, Floats, studentize

_CONFIDENCE = 0.95
_SHORTEST = 1e-3  # seconds that a segment weighs at least, so that segments without length have a mean


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Consecutive segments of a voice with the same answer.

    Attributes:
        start, end: seconds, from the start of the first segment to the end of the last.
        speech: seconds of speech in between.
    """

    start: float
    end: float
    speech: float


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The segment in which an emotion is most probable.

    Attributes:
        probability: of the emotion, 0 to 1.
        start, end: seconds.
        voice: speaker or channel, see `Summary`.
        transcript: the words of the segment; None if there are none.
    """

    probability: float
    start: float
    end: float
    voice: str
    transcript: str | None


@dataclass(frozen=True, kw_only=True)
class EmotionSummary:
    """One emotion along a recording.

    Attributes:
        label: the emotion.
        share: share of the answered speech with this answer, 0 to 1; None if nothing was answered.
        share_low, share_high: 95 % interval of `share` for other segments of the same kind, see `_interval`; None with
            fewer than three answered segments, and where `share` is 0 or 1.
        mean: mean probability, weighted by seconds; None likewise.
        thirds: `mean` in each third of the recording, None in a third without answered speech. A segment counts in
            every third with the seconds that lie in it.
        trend: the last of `thirds` minus the first, -1 to 1; None if one of them is.
        longest: the stretch with most seconds of speech; None if no segment has this answer. A segment with another
            answer or with none ends a stretch, a pause does not.
        peak: None if no segment has this answer.
    """

    label: str
    share: float | None
    share_low: float | None
    share_high: float | None
    mean: float | None
    thirds: list[float | None]
    trend: float | None
    longest: Stretch | None
    peak: Peak | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a model answered along a recording, for one voice or for the whole recording.

    Attributes:
        scope: `recording` for all voices together, or `voice`.
        voice: name of the speaker or, where it is unknown, of the channel; empty for an unknown speaker of the mix of
            all channels, and for the whole recording.
        segments: number of segments with an answer.
        unanswered: number of segments without one.
        speech: seconds of the answered segments.
        emotions: one for each emotion of the model, in the order of the model.
    """

    scope: Literal["recording", "voice"]
    voice: str
    segments: int
    unanswered: int
    speech: float
    emotions: list[EmotionSummary]

    def main(self, most: int | None = None) -> list[EmotionSummary]:
        """Return the emotions that are the answer of a segment, those of most speech first."""
        return sorted((each for each in self.emotions if each.share), key=lambda each: -(each.share or 0.0))[
            :most
        ]

    def to_rows(self) -> list[Row]:
        """Convert to rows of a table, one for each emotion; the names of the columns do not depend on the model."""
        rows = []
        whole = {name: value for name, value in asdict(self).items() if name != "emotions"}
        for each in self.emotions:
            longest, peak = each.longest, each.peak
            rows.append(
                whole
                | {"emotion": each.label, "share": each.share}
                | {"share_low": each.share_low, "share_high": each.share_high, "mean": each.mean}
                | dict(zip(("first_third", "middle_third", "last_third"), each.thirds, strict=True))
                | {
                    "trend": each.trend,
                    "longest_start": longest and longest.start,
                    "longest_end": longest and longest.end,
                    "longest_speech": longest and longest.speech,
                    "peak": peak and peak.probability,
                    "peak_start": peak and peak.start,
                    "peak_end": peak and peak.end,
                    "peak_voice": peak and peak.voice,
                    "peak_transcript": peak and peak.transcript,
                }
            )
        return rows


def summarize(segments: Sequence[Prediction], labels: Sequence[str], duration: float) -> list[Summary]:
    """Summarize the segments of a recording.

    Args:
        segments: the answers, sorted by start.
        labels: emotions of the model.
        duration: duration of the recording in seconds.

    Returns:
        The summary of the whole recording, then one for each voice in order of its first segment.
    """
    voices: dict[str, list[Prediction]] = {}
    for segment in segments:
        voices.setdefault(voice(segment), []).append(segment)
    return [
        _summary("recording", "", segments, labels, duration),
        *(_summary("voice", name, inside, labels, duration) for name, inside in voices.items()),
    ]


def _summary(
    scope: Literal["recording", "voice"],
    name: str,
    segments: Sequence[Prediction],
    labels: Sequence[str],
    duration: float,
) -> Summary:
    answered = [segment for segment in segments if segment.probabilities is not None]
    seconds = [segment_end(segment) - segment_start(segment) for segment in answered]
    weights = np.maximum(seconds, _SHORTEST)
    edges = np.linspace(0, duration, 4).tolist()
    inside = [[_overlap(segment, *third) for segment in answered] for third in pairwise(edges)]
    stretches = _longest(segments)
    emotions = []
    for label in labels:
        probabilities = np.array([(segment.probabilities or {})[label] for segment in answered])
        said = np.array([segment.label == label for segment in answered])
        thirds = [_mean(probabilities, np.array(each)) for each in inside]
        first, last = thirds[0], thirds[-1]
        low, high = _interval(said, weights)
        emotions.append(
            EmotionSummary(
                label=label,
                share=_mean(said, weights),
                share_low=low,
                share_high=high,
                mean=_mean(probabilities, weights),
                thirds=thirds,
                trend=None if first is None or last is None else last - first,
                longest=stretches.get(label),
                peak=_peak(answered[int(probabilities.argmax())], label) if said.any() else None,
            )
        )
    return Summary(
        scope=scope,
        voice=name,
        segments=len(answered),
        unanswered=len(segments) - len(answered),
        speech=float(sum(seconds)),
        emotions=emotions,
    )


def _mean(values: NDArray[Any], weights: NDArray[Any]) -> float | None:
    """Average values, (segments,); None if no segment has a weight."""
    total = float(weights.sum())
    return float(values @ weights) / total if total else None


def _interval(said: NDArray[np.bool_], seconds: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Compute the 95 % interval of a share of speech, on the logit, with Student's t for segments of unequal length.

    It takes segments for independent. As neighbors resemble each other, the true interval is wider.

    Args:
        said: (segments,) whether a segment has the answer.
        seconds: (segments,) its length, above 0.
    """
    if len(said) < FEWEST or said.all() or not said.any():
        return None, None
    weight = seconds / seconds.sum()

    def on_logit(counts: Floats) -> tuple[Floats, Floats]:
        total = counts @ weight
        share = counts @ (weight * said) / total
        influence = weight * (said - share[:, None]) / total[:, None]
        return logit(share), influence / (share * (1 - share))[:, None]

    spread = studentize(on_logit, weight, resamples=0, seed=0)
    if spread is None:
        return None, None
    reach = spread.reach(_CONFIDENCE)
    low, high = expit([spread.estimate - reach, spread.estimate + reach])
    return float(low), float(high)


def _overlap(segment: Prediction, start: float, end: float) -> float:
    return max(0.0, min(segment_end(segment), end) - max(segment_start(segment), start))


def _longest(segments: Sequence[Prediction]) -> dict[str, Stretch]:
    """Find the longest stretch of each emotion that is an answer."""
    longest: dict[str, Stretch] = {}
    for label, run in groupby(segments, key=lambda segment: segment.label):
        inside = list(run)
        speech = sum(segment_end(segment) - segment_start(segment) for segment in inside)
        if label is not None and (label not in longest or speech > longest[label].speech):
            start, end = segment_start(inside[0]), max(map(segment_end, inside))
            longest[label] = Stretch(start=start, end=end, speech=speech)
    return longest


def _peak(segment: Prediction, label: str) -> Peak:
    return Peak(
        probability=(segment.probabilities or {})[label],
        start=segment_start(segment),
        end=segment_end(segment),
        voice=voice(segment),
        transcript=segment.transcript,
    )
