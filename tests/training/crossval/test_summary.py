"""What a terminal shows of a cross-validation."""

import re
from pathlib import Path

import pytest
from rich.console import Console

from mmer.corpora.protocol.folds import Fold, Folds
from mmer.evaluation.intervals import Interval
from mmer.evaluation.metrics import compute_metrics
from mmer.evaluation.results import CrossValidationMetrics
from mmer.evaluation.terminal_tables import FIGURES, metrics_tables
from mmer.training.crossval.summary import summary


@pytest.mark.parametrize(
    ("cluster", "clusters", "named"), [("speaker", 1, "1 speaker"), ("batch", 12, "12 values of 'batch'")]
)
def test_tables_name_the_groups_of_an_interval(cluster: str, clusters: int, named: str) -> None:
    figures = compute_metrics(["sad", "calm"], ["sad", "sad"], ["calm", "sad"])
    metrics = CrossValidationMetrics(
        selection="last",
        folds={"a": figures},
        missing=[],
        mean=dict.fromkeys(FIGURES, 0.5),
        std=dict.fromkeys(FIGURES, None),
        pooled=figures,
        intervals=dict.fromkeys(FIGURES, Interval(0.5, 0.2, 0.8, 0.95, clusters, cluster, None)),
        selection_bias=None,
        shared_transcripts=0.0,
    )
    with (console := Console(width=200)).capture() as captured:
        console.print(summary(Path("folds"), Folds(cluster, {"a": Fold(("a",))}, {}), metrics))
        console.print(metrics_tables(figures, metrics.intervals))
    assert re.search(rf"95% interval\s*│\s*{named}\s*│", captured.get())
    assert f"(95% interval over {named})" in captured.get()
