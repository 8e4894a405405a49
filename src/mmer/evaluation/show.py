"""Figures of merit as the terminal shows them."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

FIGURES = {
    "accuracy": "accuracy (WA)",
    "balanced_accuracy": "balanced accuracy (UA)",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
}
"""Names of the figures of `compute_metrics` with what the literature calls them."""


def render(figures: Mapping[str, Any]) -> Group:
    """Tables of what `evaluate` returned: the figures, and for each emotion how much of it was found.

    Args:
        figures: of `compute_metrics`, with or without `left_out`.
    """
    overall = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, heading in FIGURES.items():
        overall.add_row(heading, f"{figures[name]:.1%}")
    overall.add_row("utterances", str(figures["utterances"]))
    classes = Table(title_justify="left")
    classes.add_column("emotion")
    for heading in ("utterances", "recall"):
        classes.add_column(heading, justify="right")
    classes.add_column("most often taken for")
    for row, (label, recall) in enumerate(figures["recall"].items()):
        counts = figures["confusion_matrix"][row]
        shown = "" if recall is None else f"{recall:.1%}"
        classes.add_row(label, str(sum(counts)), shown, _mistaken_for(row, counts, figures["labels"]))
    parts: list[RenderableType] = [overall, classes]
    left_out = figures.get("left_out", {})
    if left_out.get("other_emotion"):
        parts.append(Text(f"{left_out['other_emotion']} utterances have no emotion that the model knows"))
    if left_out.get("no_answer"):
        parts.append(Text(f"{left_out['no_answer']} utterances could not be answered", style="yellow"))
    return Group(*parts)


def _mistaken_for(row: int, counts: list[int], labels: list[str]) -> str:
    wrong = [
        (count, label)
        for column, (count, label) in enumerate(zip(counts, labels, strict=True))
        if column != row
    ]
    count, label = max(wrong, default=(0, ""))
    return f"{label} ({count})" if count else ""
