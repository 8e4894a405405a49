"""Tables and a plot of a calibration."""

from pathlib import Path

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from mmer.display.terminal import Table
from mmer.evaluation.calibration.plots import plot_reliability
from mmer.inference.calibration import Calibration

PICTURE = "calibration.png"
"""Name of the picture in a model folder."""

_NAMES = {"both": "", "speech": "sound alone", "text": "text alone"}
_FIGURES = {
    "log_loss": "log-loss",
    "brier": "Brier score",
    "expected_calibration_error": "calibration error",
}


def calibration_tables(calibration: Calibration) -> Group:
    """Return a table for each condition: the candidates, and the figures before and after."""
    people = len(calibration.speakers)
    where = f"split {calibration.split}" if calibration.split else "all"
    parts: list[RenderableType] = []
    for name, found in calibration.conditions.items():
        answered = f"answers from {_NAMES[name]}, " if _NAMES[name] else ""
        title = f"{answered}{found.utterances} utterances of {people} speakers ({where}), {found.folds}"
        table = Table(title=title, title_justify="left", min_width=len(title))
        table.add_column("")
        for heading in ("before", "after"):
            table.add_column(heading, justify="right")
        for figure, heading in _FIGURES.items():
            table.add_row(heading, f"{found.before[figure]:.3f}", f"{found.after[figure]:.3f}")
        scores = ", ".join(f"{method} {loss:.4f}" for method, loss in found.candidates.items())
        chosen = f"chosen: {found.calibrator.method}; log-loss on speakers left out: {scores}"
        parts += [table, Text(chosen)]
    if calibration.note:
        parts.append(Text(f"note: {calibration.note}", style="yellow"))
    return Group(*parts)


def plot_calibration(calibration: Calibration, path: Path) -> None:
    """Draw reliability diagrams before and after calibration, for the condition that all answers have."""
    name, found = next(iter(calibration.conditions.items()))
    bins = {when: pd.DataFrame(rows) for when, rows in found.bins.items()}
    answered = f", answers from {_NAMES[name]}" if _NAMES[name] else ""
    people = f"{found.utterances} utterances of {len(calibration.speakers)} speakers"
    title = f"{people}, {found.calibrator.method}{answered}"
    plot_reliability(bins, path, title=title)
