"""Schema of `ablation.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmer.evaluation.metrics import Metrics
from mmer.runs.result_file import ResultFile


@dataclass(frozen=True, kw_only=True)
class RowFigures:
    """Figures of one row of an ablation.

    Attributes:
        title: heading of the row.
        learns: the encoders, and which of their weights are trained.
        paper_accuracy: accuracy (WA) in the paper's table 1 on IEMOCAP, 0 to 1; None where it is not given.
        note: why the row was skipped, in which case the figures below are None; None where it was trained.
        accuracy, balanced_accuracy: means over folds, 0 to 1.
        neutral_bias: value of `neutral_bias`, -1 to 1.
        pooled: figures of all answers together.
    """

    title: str
    learns: str
    paper_accuracy: float | None
    note: str | None = None
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    neutral_bias: float | None = None
    pooled: Metrics | None = None


@dataclass(frozen=True, kw_only=True)
class TranscriptFigures:
    """Figures of MMER with other transcripts at test time.

    Attributes:
        condition: condition, as `TranscriptCondition.parse` reads it.
        word_error_rate: word error rate of the transcripts; None without words.
        accuracy, balanced_accuracy: pooled over all folds, 0 to 1.
        utterances: number of answered utterances.
    """

    condition: str
    word_error_rate: float | None
    accuracy: float
    balanced_accuracy: float
    utterances: int


@dataclass(frozen=True, kw_only=True)
class Ablation(ResultFile):
    """Content of `ablation.json`.

    Attributes:
        rows: rows by name.
        transcripts: MMER under each condition; empty where MMER is not among the rows.
        gradient_shares: objective -> its share before each epoch of MMER, mean over folds, 0 to 1.
    """

    rows: Mapping[str, RowFigures]
    transcripts: Sequence[TranscriptFigures]
    gradient_shares: Mapping[str, Sequence[float]]
