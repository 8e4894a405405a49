"""What is known about a released corpus before it is downloaded."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CorpusFacts:
    """One released corpus.

    Attributes:
        title: its name in the literature.
        languages: codes of ISO 639-1; empty where they are mixed.
        utterances: in the release; None where that depends on the version.
        speakers: distinct persons; None where they are not identified or it depends on the version.
        hours: of speech; None where it is not documented.
        license: as its owners state it.
        where: where to get it, or whom to ask.
        transcripts: where the reader takes them from; empty where there are none to take.
        labels: utterances of each label as released (`original_emotion`); None where that is not fixed.
        trap: what is most often read wrongly.
    """

    title: str
    languages: tuple[str, ...]
    utterances: int | None
    speakers: int | None
    hours: float | None
    license: str
    where: str
    transcripts: str
    labels: Mapping[str, int] | None
    trap: str
