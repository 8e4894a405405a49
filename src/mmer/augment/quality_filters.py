"""Quality filters of views: bounds on words and sound, and reasons of rejection."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mmer.audio.faults import AudioFault
from mmer.audio.load import SAMPLING_RATE, quality_warnings
from mmer.augment.generators.generator import Waveform
from mmer.text.transcripts import normalize_transcript

Similarity = Callable[[Sequence[str], Sequence[str]], list[float]]
"""Similarity of meaning of each text and its new words, at most 1."""

SpeechToText = Callable[[Waveform], str]
"""Transcript that a speech recognizer gives for (samples,) at 16 kHz."""


@dataclass(frozen=True)
class QualityFilters:
    """Bounds within which a view is accepted.

    Attributes:
        max_length_ratio: largest ratio of the number of characters of view and source, either way.
        min_similarity: cosine of the two texts in an encoder, where one is given.
        max_duration_ratio: largest ratio of the durations of view and source, either way.
        max_error_rate: largest character error rate of a speech recognizer on the view, where one is given.
    """

    max_length_ratio: float = 2.0
    min_similarity: float = 0.6
    max_duration_ratio: float = 2.5
    max_error_rate: float = 0.5

    def judge_text(self, source: str, text: str, similarity: float | None) -> str | None:
        """Return why new words for `source` are rejected; None if they are accepted."""
        if not normalize_transcript(text):
            return "text: empty"
        if normalize_transcript(text) == normalize_transcript(source):
            return "text: unchanged"
        ratio = length_ratio(source, text)
        if not 1 / self.max_length_ratio <= ratio <= self.max_length_ratio:
            return "text: much longer" if ratio > 1 else "text: much shorter"
        if similarity is not None and similarity < self.min_similarity:
            return "text: other meaning"
        return None

    def judge_sound(self, waveform: Waveform, duration_ratio: float, error_rate: float | None) -> str | None:
        """Return why a sound is rejected; None if it is accepted."""
        if not len(waveform) or not np.isfinite(waveform).all():
            return "sound: none"
        if any(
            warning.fault in (AudioFault.SILENT, AudioFault.VERY_QUIET)
            for warning in quality_warnings(waveform, SAMPLING_RATE)
        ):
            return "sound: silent"
        if not 1 / self.max_duration_ratio <= duration_ratio <= self.max_duration_ratio:
            return "sound: much longer" if duration_ratio > 1 else "sound: much shorter"
        if error_rate is not None and error_rate > self.max_error_rate:
            return "sound: unintelligible"
        return None


@dataclass(frozen=True)
class Judges:
    """Models that measure views; None for those not given.

    Attributes:
        similarity: similarity of words.
        recognizer: speech recognizer.
        names: names or folders of the models, JSON-serializable.
    """

    similarity: Similarity | None = None
    recognizer: SpeechToText | None = None
    names: tuple[str | None, ...] = ()


def length_ratio(source: str, text: str) -> float:
    """Compute the ratio of characters in text and source, both normalized; infinite for an empty source."""
    characters = len(normalize_transcript(source))
    return len(normalize_transcript(text)) / characters if characters else float("inf")
