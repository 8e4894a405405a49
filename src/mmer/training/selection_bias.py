"""How much better a test split looks to whoever chooses the epoch on it: the selection-bias meter."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmer.display.terminal import Table
from mmer.evaluation.show import FIGURES

JUDGED = ("accuracy", "balanced_accuracy")
ROWS = {
    "test_selected": "chosen on test",
    "validation_selected": "chosen on validation",
    "difference": "optimism in points",
}


def selection_bias(
    test_selected: Mapping[str, Any], validation_selected: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """What the epoch chosen on the test split scores there, and what the one that validation speakers would choose.

    Args:
        test_selected, validation_selected: `compute_metrics` of the test split, and the `epoch`.

    Returns:
        `test_selected` and `validation_selected`: `epoch`, `accuracy` and `balanced_accuracy` of each; `difference`,
        the first less the second.
    """
    chosen = {
        "test_selected": {name: test_selected[name] for name in ("epoch", *JUDGED)},
        "validation_selected": {name: validation_selected[name] for name in ("epoch", *JUDGED)},
    }
    return {**chosen, "difference": _difference(chosen)}


def mean_selection_bias(folds: Sequence[Mapping[str, Any] | None]) -> dict[str, dict[str, float]] | None:
    """Means over folds of what `selection_bias` returned; None where it is null in a fold."""
    known = [fold for fold in folds if fold is not None]
    if not known or len(known) < len(folds):
        return None
    means = {
        row: {name: float(np.mean([fold[row][name] for fold in known])) for name in JUDGED}
        for row in ("test_selected", "validation_selected")
    }
    return {**means, "difference": _difference(means)}


def bias_table(bias: Mapping[str, Any]) -> Table:
    """The meter as the terminal shows it."""
    table = Table(title="Selection bias on the test split", title_justify="left")
    table.add_column("epoch")
    for name in JUDGED:
        table.add_column(FIGURES[name], justify="right")
    for row, called in ROWS.items():
        figures = bias[row]
        epoch = f" ({figures['epoch']})" if "epoch" in figures else ""
        form = "{:+.1f}" if row == "difference" else "{:.1f}%"
        table.add_row(called + epoch, *(form.format(100 * figures[name]) for name in JUDGED))
    return table


def _difference(chosen: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {name: chosen["test_selected"][name] - chosen["validation_selected"][name] for name in JUDGED}
