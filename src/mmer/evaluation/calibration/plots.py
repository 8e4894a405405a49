"""Plots of calibration: reliability diagrams before and after, and risk against coverage."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mmer.display.picture import FAINT, INK, Picture, soft_axes
from mmer.evaluation.calibration.calibration_error import calibration_error
from mmer.evaluation.modalities import CONDITIONS
from mmer.evaluation.plots import COLORS, clean_axes
from mmer.inference.trust.calibration import Calibration
from mmer.plain_text import counted

PICTURE = "calibration.png"
"""Name of the picture of a calibration in a model folder."""

_METHODS = {"temperature": "temperature", "vector": "vector scaling", "isotonic": "isotonic regression"}
_FEW = 0.05  # coverage below which the curve may leave the plot


def plot_calibration(calibration: Calibration, path: Path) -> None:
    """Draw reliability diagrams before and after calibration, for the condition that all answers have."""
    found = next(iter(calibration.conditions.values()))
    bins = {when: pd.DataFrame(rows) for when, rows in found.bins.items()}
    plot_reliability(bins, path, title=calibration_title(calibration))


def calibration_title(calibration: Calibration) -> str:
    """Say on how many utterances and speakers a calibration rests, and by which method it was made."""
    name, found = next(iter(calibration.conditions.items()))
    people = f"{counted(found.utterances, 'utterance')} of {counted(len(calibration.speakers), 'speaker')}"
    method = found.calibrator.method
    chosen = "unchanged: no method was better" if method == "none" else f"calibrated by {_METHODS[method]}"
    answered = "" if name == "both" else f", answers from {CONDITIONS[name][1]}"
    return f"{people}, {chosen}{answered}"


def plot_reliability(bins: Mapping[str, pd.DataFrame], path: Path, *, title: str) -> None:
    """Draw reliability diagrams side by side.

    Args:
        bins: heading of each diagram -> its `confidence_bins`.
        path: the PNG file to write.
        title: what was judged.
    """
    figure = Picture(figsize=(0.4 + 4.6 * len(bins), 5.2), dpi=200, layout="constrained")
    figure.suptitle(title, fontsize=12.5, color=INK, x=0.01, ha="left")
    parts = figure.subfigures(1, len(bins), squeeze=False)[0]
    for part, (name, table) in zip(parts, bins.items(), strict=True):
        axes = draw_reliability(part, table)
        error = calibration_error(table)
        axes.set_title(f"{name}: calibration error {error:.1%}", fontsize=11, color=INK, loc="left")
    figure.savefig(path)


def draw_reliability(figure: Figure | SubFigure, bins: pd.DataFrame) -> Axes:
    """Draw accuracy against confidence above a histogram of utterances, and return the upper axes.

    Args:
        figure: an empty figure.
        bins: rows of `confidence_bins`.
    """
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    soft_axes(above, "y").plot([0, 1], [0, 1], color=FAINT, lw=1.2, ls="--")
    above.vlines(bins["confidence"], bins["confidence"], bins["accuracy"], color="#d55e00", lw=2)
    above.plot(bins["confidence"], bins["accuracy"], "o-", color="#0072b2", lw=1.8, ms=6)
    above.set_ylim(0, 1.02)
    above.set_ylabel("accuracy", color=INK)
    above.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    widths = bins["high"] - bins["low"]
    soft_axes(below, "y").bar(
        bins["low"], bins["utterances"], widths * 0.94, align="edge", color="#0072b2", alpha=0.6
    )
    below.set_xlim(0, 1)
    below.set_xlabel("confidence", color=INK)
    below.set_ylabel("utterances", color=INK)
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    below.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return above


def plot_risk_coverage(curve: pd.DataFrame, path: Path, *, area: float, title: str) -> None:
    """Draw the error rate against the share of answers given, the most confident first.

    Args:
        curve: rows of `risk_coverage`.
        path: the PNG file to write.
        area: area under the curve.
        title: what was judged.
    """
    figure = Picture(figsize=(8, 4.4), dpi=200, layout="constrained")
    axes = figure.subplots()
    color = COLORS["cross_entropy"]
    axes.plot(curve["coverage"], curve["risk"], color=color, lw=2)
    axes.fill_between(curve["coverage"], curve["risk"], color=color, alpha=0.12, lw=0)
    overall = float(curve["risk"].iloc[-1])
    axes.axhline(overall, color=FAINT, lw=1.2, ls="--")
    axes.text(0.99, overall, f"all: {overall:.1%}", color=INK, fontsize=10, ha="right", va="bottom")
    for share in (0.3, 0.6):
        row = curve[curve["coverage"] >= share].iloc[0]
        axes.plot(row["coverage"], row["risk"], "o", ms=7, color="#e69f00", mec=INK, zorder=4)
        told = f"{row['risk']:.1%} wrong, confidence ≥ {row['confidence']:.2f}"
        axes.annotate(
            told, (row["coverage"], row["risk"]), (4, -15), textcoords="offset points", fontsize=10, color=INK
        )
    axes.set_xlim(0, 1)
    # An error rate over the first few answers is noise.
    many = curve["risk"][curve["coverage"] >= _FEW]
    axes.set_ylim(0, max(0.05, 1.25 * float(many.max())))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_title(f"{title}\narea under the curve {area:.3f}", fontsize=12.5, color=INK, loc="left")
    axes.set_xlabel("answers that are given, the surest first", fontsize=11, color=INK)
    axes.set_ylabel("of these are wrong", fontsize=11, color=INK)
    clean_axes(axes)
    figure.savefig(path)
