"""All judged folds together: one file of out-of-fold predictions, and the figures over folds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.folds import Folds
from mmer.evaluation.intervals import with_intervals
from mmer.evaluation.metrics import compute_metrics
from mmer.evaluation.results import METRICS, CrossValidationMetrics, RunMetrics
from mmer.evaluation.terminal_tables import FIGURES
from mmer.files.damaged import damaged_file
from mmer.files.writing import write_parquet
from mmer.recipe.schema import Recipe
from mmer.training.selection_bias import mean_selection_bias


def combine_folds(
    folder: Path, recipe: Recipe, made: Folds, finished: Sequence[str], system: str | None = None
) -> CrossValidationMetrics:
    """Write `predictions.parquet` and `metrics.json` of the judged folds.

    Args:
        folder: folder of the cross-validation.
        recipe: its recipe.
        made: its folds.
        finished: folds whose run folders have predictions and metrics.
        system: the name of a baseline.

    Returns:
        The content of `metrics.json`.
    """
    known = Corpus.read(folder / "corpus.parquet").table.set_index("utterance_id")
    parts, runs = [], dict[str, RunMetrics]()
    for name in finished:
        run = folder / "folds" / name
        runs[name] = RunMetrics.read(run / METRICS)
        file = run / "predictions.parquet"
        with damaged_file(file, f"delete {run}, and the same command trains this fold again"):
            rows = pd.read_parquet(file).query("split == 'test'")
        parts.append(rows.assign(fold=name))
    predictions = pd.concat(parts, ignore_index=True)
    predictions = predictions.join(known[["session", "gender", "transcript"]], on="utterance_id")
    write_parquet(predictions, folder / "predictions.parquet")
    folds = {name: run.test for name, run in runs.items() if run.test is not None}
    labels = next(iter(folds.values())).labels
    shares = {name: run.shared_transcripts.get("test", 0.0) for name, run in runs.items()}
    scores = {name: [getattr(fold, name) for fold in folds.values()] for name in FIGURES}
    answered = predictions.dropna(subset=["predicted"])
    spoken = predictions["fold"][predictions["transcript"].notna()]
    metrics = CrossValidationMetrics(
        selection=recipe.protocol.selection,
        folds=folds,
        missing=[name for name in made.folds if name not in folds],
        mean={name: float(np.mean(values)) for name, values in scores.items()},
        std={
            name: float(np.std(values, ddof=1)) if len(folds) > 1 else None for name, values in scores.items()
        },
        pooled=compute_metrics(answered["emotion"].tolist(), answered["predicted"].tolist(), labels),
        intervals=with_intervals(predictions, labels),
        selection_bias=mean_selection_bias([run.selection_bias for run in runs.values()]),
        shared_transcripts=float(spoken.map(shares).mean()) if len(spoken) else 0.0,
        system=system,
    )
    metrics.write(folder / METRICS)
    return metrics
