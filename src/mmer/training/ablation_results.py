"""The form of `ablation.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmer.evaluation.metrics import Metrics
from mmer.runs.result_file import ResultFile


@dataclass(frozen=True, kw_only=True)
class RowFigures:
    """What one row of an ablation reached.

    Attributes:
        title: what it is called.
        learns: the encoders, and how much of each learns.
        paper_accuracy: accuracy (WA) in the paper's table 1 on IEMOCAP, 0 to 1, where it is there.
        note: why it was skipped; None where it was trained, and so are then the figures below.
        accuracy, balanced_accuracy: means over folds, 0 to 1.
        neutral_bias: of `neutral_bias`, -1 to 1.
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
    """What MMER reaches with other transcripts at test time.

    Attributes:
        condition: of `Condition.parse`.
        word_error_rate: None where no word was said.
        accuracy, balanced_accuracy: of all folds together, 0 to 1.
        utterances: how many were answered.
    """

    condition: str
    word_error_rate: float | None
    accuracy: float
    balanced_accuracy: float
    utterances: int


@dataclass(frozen=True, kw_only=True)
class Ablation(ResultFile):
    """`ablation.json`.

    Attributes:
        rows: by name.
        transcripts: MMER under each condition; empty where MMER is not among the rows.
        gradient_shares: objective -> its share before each epoch of MMER, mean over folds, 0 to 1.
    """

    rows: Mapping[str, RowFigures]
    transcripts: Sequence[TranscriptFigures]
    gradient_shares: Mapping[str, Sequence[float]]
