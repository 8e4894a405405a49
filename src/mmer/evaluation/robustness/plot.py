"""Plots of balanced accuracy against each disturbance, side by side."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from mmer.display.picture import INK, Picture
from mmer.evaluation.plots import COLORS, clean_axes
from mmer.evaluation.robustness.disturbances import UNITS
from mmer.evaluation.robustness.results import Robustness
from mmer.plain_text import counted

_COLUMNS = 3


def plot_robustness(result: Robustness, path: Path) -> None:
    """Draw the results of `measure`.

    Args:
        result: results of `measure`.
        path: where the picture (PNG) goes.
    """
    axes_names = list(dict.fromkeys(found.axis for found in result.conditions if found.axis))
    rows = -(-len(axes_names) // _COLUMNS)
    columns = min(_COLUMNS, len(axes_names))
    figure = Picture(figsize=(0.6 + 3.5 * columns, 0.9 + 2.9 * rows), dpi=160, layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, name in zip(grid, axes_names, strict=False):
        _draw(axes, result, name)
    for axes in grid[len(axes_names) :]:
        axes.set_axis_off()
    for axes in grid[::columns]:
        axes.set_ylabel("balanced accuracy", fontsize=9, color=INK)
    handles, names = grid[0].get_legend_handles_labels()
    if len(axes_names) < len(grid):
        grid[-1].legend(handles, names, loc="center left", frameon=False, fontsize=9.5, labelcolor=INK)
    else:
        figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9.5)
    title = f"{counted(result.utterances, 'utterance')} of {counted(result.speakers, 'speaker')}"
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left")
    figure.savefig(path)


def _draw(axes: Axes, result: Robustness, name: str) -> None:
    """Draw the figures of one axis of disturbance."""
    found = [each for each in result.conditions if each.axis in (None, name)]
    if name == "loudness":
        found.sort(key=lambda each: float(each.level or 0))
    places, ordered = np.arange(len(found)), name != "codec"
    scores = np.array([each.balanced_accuracy for each in found])
    ends = np.array([[each.interval.low, each.interval.high] for each in found], dtype=float).T
    bounded = any(each.interval.low is not None for each in result.conditions)
    blue = COLORS["cross_entropy"]
    axes.errorbar(
        places,
        scores,
        np.abs(ends - scores),
        fmt="o",
        ls="-" if ordered else "none",
        color=blue,
        ecolor=(blue, 0.35),
        elinewidth=5,
        lw=2,
        ms=5,
        label=f"all utterances{', 95% interval over speakers' if bounded else ''}",
    )
    if any(each.worst_group is not None for each in result.conditions):
        groups = [each.worst_group for each in found]
        axes.plot(
            places,
            [np.nan if group is None else group.balanced_accuracy for group in groups],
            marker="v",
            ls="--" if ordered else "none",
            color=COLORS["ctc"],
            lw=1.3,
            ms=5,
            clip_on=False,
            label="worst group",
        )
    axes.axhline(result.chance, color=INK, lw=1.0, ls=":", label="chance")
    axes.set_xticks(places, [_shown(name, each.level) for each in found])
    axes.set_title(name, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xlabel(UNITS[name], fontsize=9, color=INK)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    clean_axes(axes)


def _shown(axis: str, level: str | float | None) -> str:
    if level is None:
        return "as it is"
    if isinstance(level, str):
        return level
    return f"{level:.0%}" if axis == "words" else f"{level:g}"
