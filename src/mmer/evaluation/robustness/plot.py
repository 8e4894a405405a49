"""Plots of balanced accuracy against each disturbance, side by side."""

from pathlib import Path

import numpy as np
from matplotlib.ticker import PercentFormatter

from mmer.display.picture import FAINT, INK, Picture
from mmer.evaluation.plots import COLORS
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
    undisturbed = result.conditions[0]
    axes_names = list(dict.fromkeys(found.axis for found in result.conditions if found.axis))
    rows = -(-len(axes_names) // _COLUMNS)
    columns = min(_COLUMNS, len(axes_names))
    figure = Picture(figsize=(0.6 + 3.5 * columns, 0.9 + 2.9 * rows), dpi=160, layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    blue, orange = COLORS["cross_entropy"], COLORS["ctc"]
    bounded = any(found.interval.low is not None for found in result.conditions)
    grouped = any(found.worst_group is not None for found in result.conditions)
    for axes, name in zip(grid, axes_names, strict=False):
        found = [undisturbed, *(each for each in result.conditions if each.axis == name)]
        if name == "loudness":
            found.sort(key=lambda each: float(each.level or 0))
        places = np.arange(len(found))
        scores = np.array([each.balanced_accuracy for each in found])
        ends = np.array([[each.interval.low, each.interval.high] for each in found], dtype=float).T
        line = "none" if name == "codec" else "-"  # codecs have no order, so no line joins them
        reach = np.abs(ends - scores)
        axes.errorbar(
            places,
            scores,
            reach,
            fmt="o",
            ls=line,
            color=blue,
            ecolor=(blue, 0.35),
            elinewidth=5,
            lw=2,
            ms=5,
            label=f"all utterances{', 95% interval over speakers' if bounded else ''}",
        )
        if grouped:
            worst = [
                np.nan if each.worst_group is None else each.worst_group.balanced_accuracy for each in found
            ]
            axes.plot(
                places,
                worst,
                marker="v",
                ls="none" if name == "codec" else "--",
                color=orange,
                lw=1.3,
                ms=5,
                clip_on=False,
                label="worst group",
            )
        axes.axhline(result.chance, color=FAINT, lw=1.2, ls=":", label="chance")
        axes.set_xticks(places, [_shown(name, each.level) for each in found])
        axes.set_title(name, loc="left", fontsize=11, color=INK, fontweight="bold")
        axes.set_xlabel(UNITS[name], fontsize=9, color=INK)
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.tick_params(colors=INK, labelsize=8.5, length=3)
        axes.grid(axis="y", color="#e8ecef", lw=0.8)
        axes.set_axisbelow(True)
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


def _shown(axis: str, level: str | float | None) -> str:
    if level is None:
        return "as it is"
    return f"{level:.0%}" if axis == "words" and not isinstance(level, str) else str(level)
