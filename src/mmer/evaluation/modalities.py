"""Evaluation of a model with missing-modality embeddings on both modalities, on sound alone and on text alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mmer.display.terminal import Table
from mmer.evaluation.intervals import FIGURES, Interval, with_intervals
from mmer.evaluation.metrics import compute_metrics
from mmer.plain_text import counted

CONDITIONS = {
    "both": ("predicted", "sound and text"),
    "speech": ("predicted_speech_alone", "sound alone"),
    "text": ("predicted_text_alone", "text alone"),
}
"""Name of each condition, its column of answers, and its heading in tables."""


@dataclass(frozen=True, kw_only=True)
class ModalityFigures:
    """Metrics of one condition, with intervals over speakers."""

    utterances: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    weighted_f1: float
    intervals: Mapping[str, Interval]


def by_modality(predictions: pd.DataFrame, labels: Sequence[str]) -> dict[str, ModalityFigures] | None:
    """Judge the three conditions on the same utterances, those that have both modalities.

    Args:
        predictions: rows of `predict_labeled`.
        labels: emotions of the model.

    Returns:
        Condition -> its figures; None where no utterance has both modalities, or the model has no missing-modality
        embeddings.
    """
    both = predictions.dropna(subset=[column for column, _ in CONDITIONS.values()])
    if both.empty:
        return None
    judged = {}
    for name, (column, _) in CONDITIONS.items():
        answers = both.assign(predicted=both[column])
        figures = compute_metrics(answers["emotion"].tolist(), answers["predicted"].tolist(), labels)
        judged[name] = ModalityFigures(
            utterances=figures.utterances,
            **{figure: getattr(figures, figure) for figure in FIGURES},
            intervals=with_intervals(answers, labels),
        )
    return judged


def modality_table(judged: Mapping[str, ModalityFigures]) -> Table:
    """Return a table of the figures of `by_modality`."""
    table = Table(
        title=f"The {counted(judged['both'].utterances, 'utterance')} with both", title_justify="left"
    )
    table.add_column("answered from")
    for heading in ("accuracy (WA)", "balanced accuracy (UA)", "95% interval of UA"):
        table.add_column(heading, justify="right")
    for name, figures in judged.items():
        found = figures.intervals["balanced_accuracy"]
        between = "" if found.low is None else f"{found.low:.1%} to {found.high:.1%}"
        shown = (f"{figure:.1%}" for figure in (figures.accuracy, figures.balanced_accuracy))
        table.add_row(CONDITIONS[name][1], *shown, between)
    return table
