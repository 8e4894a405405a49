"""Metrics by group: speaker, gender, session, duration and number of words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmer.evaluation.intervals import interval, known_labels
from mmer.evaluation.metrics import compute_metrics
from mmer.text.transcripts import normalize_transcript, strip_annotations

SMALLEST = 20
"""Smallest number of utterances for a group to be named as the worst; a smaller one is the worst by chance."""

UNKNOWN = "(not known)"
_WORDS = ["no words", "1 to 2 words", "3 to 5 words", "6 to 10 words", "more than 10 words"]


def slices(
    predictions: pd.DataFrame, labels: Sequence[str] | None = None, smallest: int = SMALLEST
) -> pd.DataFrame:
    """Compute metrics of each group of utterances.

    Utterances are sliced by speaker, gender, session, duration (in three groups of equal size) and words of the
    transcript, where the table has the column and it yields at least two groups. Utterances with an unknown value form
    their own group.

    Args:
        predictions: `emotion`, `predicted`, and any of `speaker`, `gender`, `session`, `duration` (seconds) and
            `transcript`; rows without an answer are skipped.
        labels: all emotions of the model; None for those that occur.
        smallest: number of utterances that a group needs to be named as the worst.

    Returns:
        A row for each group: `slice`, `group`, `utterances`, `speakers` (None where unknown), `emotions`
        (how many occur), `accuracy`, `balanced_accuracy` and the ends `low` and `high` of its interval over speakers
        (None where there is none), and `worst`: whether it has the lowest balanced accuracy of its slice, unless that
        of all groups is the same.

    Raises:
        MMERError: there is nothing to judge, or an emotion is not in `labels`.
    """
    answered = predictions.dropna(subset=["predicted"]).reset_index(drop=True)
    labels = known_labels(answered, labels)
    rows: list[dict[str, object]] = []
    for name, groups in _groups(answered).items():
        present = [group for group in groups.cat.categories if (groups == group).any()]
        if len(present) < 2:
            continue
        found = [_figures(group, answered[groups == group], labels) for group in present]
        rated = [figures for figures in found if figures.utterances >= smallest]
        differ = _differ(figures.balanced_accuracy for figures in rated)
        worst = min(rated, key=lambda figures: figures.balanced_accuracy) if differ else None
        rows += [{"slice": name, **vars(figures), "worst": figures is worst} for figures in found]
    columns = ["slice", "group", "utterances", "speakers", "emotions", "accuracy", "balanced_accuracy"]
    table = pd.DataFrame(rows, columns=pd.Index([*columns, "low", "high", "worst"]))
    return table.astype({"speakers": "Int64", "low": float, "high": float, "worst": bool})


def worst_group(
    predictions: pd.DataFrame, labels: Sequence[str] | None = None, smallest: int = SMALLEST
) -> tuple[str, str, int, float] | None:
    """Find the group with the lowest balanced accuracy of all that `slices` calls the worst of theirs.

    It computes nothing else, and so takes much less time.

    Args:
        predictions: see `slices`.
        labels: see `slices`.
        smallest: see `slices`.

    Returns:
        Its slice, group, utterances and balanced accuracy (0 to 1); None where no slice has a worst group.

    Raises:
        MMERError: see `slices`.
    """
    answered = predictions.dropna(subset=["predicted"]).reset_index(drop=True)
    labels = known_labels(answered, labels)
    found: list[tuple[str, str, int, float]] = []
    for name, groups in _groups(answered).items():
        sizes = groups.value_counts(sort=False)
        rated = sizes[sizes >= smallest]
        scores: list[tuple[str, str, int, float]] = []
        for group, size in rated.items():
            rows = answered[groups == group]
            metrics = compute_metrics(rows["emotion"].tolist(), rows["predicted"].tolist(), labels)
            scores.append((name, str(group), int(size), metrics.balanced_accuracy))
        if _differ(score for *_, score in scores):
            found += scores
    return min(found, key=lambda each: each[3], default=None)


def _differ(scores: Iterable[float]) -> bool:
    """Tell whether scores differ by more than what sums of binary numbers leave."""
    return len({round(score, 9) for score in scores}) > 1


@dataclass(frozen=True, kw_only=True)
class GroupFigures:
    """Figures of a group of a slice; the fields are columns of `slices`."""

    group: str
    utterances: int
    speakers: int | None
    emotions: int
    accuracy: float
    balanced_accuracy: float
    low: float | None
    high: float | None


def worst_groups(table: pd.DataFrame) -> dict[str, GroupFigures]:
    """Return the worst group of each slice of a table of `slices`, by the name of the slice."""
    rows = table[table["worst"]].drop(columns="worst").to_dict("records")
    return {
        str(row["slice"]): GroupFigures(
            group=str(row["group"]),
            utterances=int(row["utterances"]),
            speakers=None if pd.isna(row["speakers"]) else int(row["speakers"]),
            emotions=int(row["emotions"]),
            accuracy=float(row["accuracy"]),
            balanced_accuracy=float(row["balanced_accuracy"]),
            low=None if pd.isna(row["low"]) else float(row["low"]),
            high=None if pd.isna(row["high"]) else float(row["high"]),
        )
        for row in rows
    }


def _groups(predictions: pd.DataFrame) -> dict[str, pd.Series]:
    """Assign each utterance to a group in each slice; categories are in display order."""
    groups: dict[str, pd.Series] = {}
    for name in ("speaker", "gender", "session"):
        if name in predictions and predictions[name].notna().any():
            known = sorted(set(predictions[name].dropna()) - {UNKNOWN})
            groups[name] = _categories(predictions[name], known)
    if "duration" in predictions and predictions["duration"].notna().any():
        groups["duration"] = _thirds(predictions["duration"])
    if "transcript" in predictions and predictions["transcript"].notna().any():
        groups["transcript"] = _by_words(predictions["transcript"])
    return groups


def _categories(names: pd.Series, order: Sequence[str]) -> pd.Series:
    return pd.Series(pd.Categorical(names.fillna(UNKNOWN), [*order, UNKNOWN]))


def _thirds(durations: pd.Series) -> pd.Series:
    short, long = durations.quantile([1 / 3, 2 / 3])
    names = [f"up to {short:.2f} s", f"{short:.2f} to {long:.2f} s", f"over {long:.2f} s"]
    order = np.select([durations <= short, durations <= long], [0, 1], 2)
    thirds = pd.Series([names[place] for place in order], durations.index, dtype=object)
    return _categories(thirds.where(durations.notna()), names)


def _by_words(transcripts: pd.Series) -> pd.Series:
    counts = [None if pd.isna(text) else len(_spoken(text)) for text in transcripts]
    groups = pd.cut(np.array(counts, float), [-1, 0, 2, 5, 10, np.inf], labels=_WORDS)
    return _categories(pd.Series(groups, dtype=object), _WORDS)


def _spoken(transcript: str) -> list[str]:
    return normalize_transcript(strip_annotations(transcript)).split()


def _figures(group: str, rows: pd.DataFrame, labels: Sequence[str]) -> GroupFigures:
    metrics = compute_metrics(rows["emotion"].tolist(), rows["predicted"].tolist(), labels)
    found = interval(rows, "balanced_accuracy", labels=labels)
    known = "speaker" in rows and rows["speaker"].notna().all()
    return GroupFigures(
        group=group,
        utterances=len(rows),
        speakers=rows["speaker"].nunique() if known else None,
        emotions=rows["emotion"].nunique(),
        accuracy=metrics.accuracy,
        balanced_accuracy=metrics.balanced_accuracy,
        low=found.low,
        high=found.high,
    )
