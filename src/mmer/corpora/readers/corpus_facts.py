"""Facts about a released corpus."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CorpusFacts:
    """Facts about one released corpus.

    Attributes:
        title: its name in the literature.
        languages: codes of ISO 639-1; empty where they are mixed.
        utterances: number of utterances in the release; None where it depends on the version.
        speakers: number of persons; None where they are not identified or it depends on the version.
        hours: hours of speech; None where not documented.
        license: license stated by its owners.
        where: where to get it, or whom to ask.
        transcripts: source of transcripts; empty for none.
        labels: utterances of each label as released (`original_emotion`); None where that is not fixed.
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
