"""Schemas of `settings.json` and `robustness.json` in a folder of robustness results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmer.evaluation.intervals import Interval
from mmer.runs.result_file import ResultFile


@dataclass(frozen=True, kw_only=True)
class DisturbedGroup:
    """Group of utterances with the lowest balanced accuracy; the fields are columns of `slices`."""

    slice: str
    group: str
    utterances: int
    balanced_accuracy: float


@dataclass(frozen=True, kw_only=True)
class DisturbedFigures:
    """Figures of a model under one disturbance.

    Attributes:
        axis, level: of the `Disturbance`.
        utterances: number of answered utterances.
        balanced_accuracy: 0 to 1.
        interval: interval of the balanced accuracy, over speakers.
        worst_group: None where there are no groups.
        word_error_rate: rate of the disturbed transcripts against those of the corpus; None for other axes.
        unlike: number of answered utterances whose recording is unlike those of the training; None in files of early
            versions.
    """

    axis: str | None
    level: str | float | None
    utterances: int
    balanced_accuracy: float
    interval: Interval
    worst_group: DisturbedGroup | None
    word_error_rate: float | None = None
    unlike: int | None = None


@dataclass(frozen=True, kw_only=True)
class RobustnessSettings(ResultFile):
    """Content of `settings.json`: what a measurement judges, which a later call must repeat to resume it.

    Attributes:
        model: SHA-256 of the model.
        corpus: name of the file.
        split, sample, seed: see `measure`.
        utterances, speakers: numbers of judged utterances and speakers.
        content_sha256, words_sha256: hashes of the corpus and of its training transcripts; None in files of early
            versions.
    """

    model: str
    corpus: str
    split: str | None
    sample: int | None
    seed: int
    utterances: int
    speakers: int
    content_sha256: str | None = None
    words_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Robustness(RobustnessSettings):
    """Content of `robustness.json`: the settings and the figures.

    Attributes:
        in_training: counts from `overlap`; None where the model keeps no record of its training data.
        chance: balanced accuracy of guessing, 0 to 1.
        conditions: figures under each disturbance; the first is undisturbed.
    """

    in_training: Mapping[str, int] | None
    chance: float
    conditions: Sequence[DisturbedFigures]
