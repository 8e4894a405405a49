"""Plots of a training run and its results, legible at 800 pixels and to color-blind readers."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mmer.display.picture import FAINT, INK, Picture, ink_on
from mmer.evaluation.metrics import Metrics
from mmer.recipe.training import Objectives
from mmer.text.error_rates import WordErrorBin, bin_name

NAMES = {"cross_entropy": "cross-entropy", "ctc": "CTC"} | {
    name.removesuffix("_weight"): name.removesuffix("_weight").replace("_", " ")
    for name in Objectives.model_fields
    if name.endswith("_weight") and name != "ctc_weight"
}
"""Each objective with a weight in recipes, and its name in plots and messages."""
# Okabe and Ito's palette, distinguishable with every kind of color vision
_PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
COLORS = dict(zip(NAMES, cycle(_PALETTE), strict=False))
ALONE = {"balanced_accuracy_speech": "sound alone", "balanced_accuracy_text": "words alone"}
SCORES = ("balanced_accuracy", *ALONE)
_BLUES = LinearSegmentedColormap.from_list("mmer", ["#ffffff", "#0072b2"])
_GUESSING = "#6b7785"
_MOST_WRITTEN = 25  # most classes for which a confusion matrix shows numbers
_MOST_NAMED = 200  # most classes for which it shows names; of more they could not be read


def plot_curves(
    history: pd.DataFrame,
    path: Path,
    *,
    kept_epoch: int,
    selection: str = "validation",
    chance: float | None = None,
) -> None:
    """Draw the objectives during training and the score after each epoch.

    Args:
        history: one row for each epoch: `epoch`, a column of `NAMES` for each objective in use, and
            `balanced_accuracy` (0 to 1) on the selection split, NaN if it was not judged; with modality dropout, the
            columns of `ALONE` too.
        path: where the picture (PNG) goes.
        kept_epoch: the epoch, from 1, whose model is kept.
        selection: the split that `balanced_accuracy` was measured on.
        chance: balanced accuracy of guessing, drawn as a line.
    """
    objectives = [name for name in NAMES if name in history and not np.isnan(history[name].to_numpy()).all()]
    epochs, scores = history["epoch"].to_numpy(), history["balanced_accuracy"].to_numpy()
    judged = not np.isnan(scores).all()
    heights = [1.0] * len(objectives) + [1.8] * judged
    figure = Picture(figsize=(8, 0.8 + 1.25 * sum(heights)), dpi=200, layout="constrained")
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    marker = "o" if len(history) < 40 else None
    for axes, name in zip(panels, objectives, strict=False):
        clean_axes(axes)
        axes.plot(epochs, history[name], color=COLORS[name], lw=2, marker=marker, ms=3.5)
        axes.set_title(NAMES[name], loc="left", fontsize=11, color=COLORS[name], fontweight="bold")
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.margins(y=0.15)
    if judged:
        axes = panels[-1]
        clean_axes(axes)
        alone = [side for side in ALONE if side in history and not np.isnan(history[side].to_numpy()).all()]
        name = "from both" if alone else "the model"
        axes.plot(epochs, scores, color=INK, lw=2, marker=marker, ms=3.5, label=name)
        for side, style in zip(alone, ("--", ":"), strict=False):
            axes.plot(epochs, history[side], color=INK, lw=1.4, ls=style, label=ALONE[side])
        if chance is not None:
            axes.axhline(chance, color=_GUESSING, lw=1.2, label=f"guessing {chance:.1%}")
        if alone or chance is not None:
            axes.legend(fontsize=9, frameon=False, ncols=4, labelcolor=INK)
        axes.set_title(
            f"balanced accuracy on {selection}", loc="left", fontsize=11, color=INK, fontweight="bold"
        )
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.margins(y=0.25)
        score = float(scores[epochs == kept_epoch][0])
        axes.plot(kept_epoch, score, "o", ms=8, color="#e69f00", mec=INK, zorder=5)
        axes.set_title(f"kept: {score:.1%} in epoch {kept_epoch}", loc="right", fontsize=11, color=INK)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[-1].set_xlim(0.5, epochs.max() + 0.5)
    panels[-1].set_xlabel("epoch", fontsize=11, color=INK)
    for each in panels:
        each.axvline(kept_epoch, color=FAINT, lw=1.2, ls="--", zorder=0)
    figure.savefig(path)


_LABEL_WIDTH = 16  # characters per line of an emotion's name beside a confusion matrix


def plot_confusion_matrix(figures: Metrics, path: Path, *, title: str) -> None:
    """Draw a confusion matrix with the count and the share of its row in each cell; with many classes, only colors.

    Args:
        figures: metrics from `compute_metrics`.
        path: where the picture (PNG) goes.
        title: what was judged.
    """
    counts = np.asarray(figures.confusion_matrix)
    classes = len(counts)
    written, named = classes <= _MOST_WRITTEN, classes <= _MOST_NAMED
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    figure = Picture(dpi=200, layout="constrained")
    label = figure.label if written else partial(figure.label, lines=1)
    width = _LABEL_WIDTH if written else 2 * _LABEL_WIDTH
    labels = [label(name, width) for name in figures.labels] if named else []
    lines = [line for label in labels for line in label.split("\n")]
    longest, most_lines = max(map(len, lines), default=0), max((n.count("\n") + 1 for n in labels), default=1)
    # The plot grows with the number of classes, so that numbers and names fit into the cells.
    side = max(4.2, max(0.8, 0.2 * (most_lines + 1)) * classes) if written else min(0.25 * classes, 20.0)
    figure.set_size_inches(side + 1.6 + 0.08 * longest, side + 1.2 + 0.08 * longest)
    axes = figure.subplots()
    axes.imshow(shares, cmap=_BLUES, vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape) if written else ():
        ink = ink_on(_BLUES(float(shares[row, column])))
        count, share = f"{counts[row, column]}", f"{shares[row, column]:.0%}"
        axes.text(
            column, row - 0.12, share, ha="center", va="center", color=ink, fontsize=12, fontweight="bold"
        )
        axes.text(column, row + 0.22, count, ha="center", va="center", color=ink, fontsize=9)
    slanted = written and most_lines == 1 and (longest > 8 or classes > 6)
    rotation = 35 if slanted else 0 if written and most_lines == 1 else 90
    axes.set_xticks(range(len(labels)), labels, rotation=rotation, ha="right" if slanted else "center")
    between = "\n" if written else "  "
    axes.set_yticks(
        range(len(labels)),
        [f"{label}{between}{n}" for label, n in zip(labels, totals[:, 0] if named else (), strict=True)],
    )
    axes.tick_params(length=0, labelsize=min(11, 43 * side / classes), labelcolor=INK)
    if slanted:
        for text in axes.get_xticklabels():
            text.set_rotation_mode("anchor")
    axes.set_xlabel("predicted", fontsize=12, color=INK)
    axes.set_ylabel("true", fontsize=12, color=INK)
    axes.set_title(
        f"{title}\nbalanced accuracy {figures.balanced_accuracy:.1%}, accuracy {figures.accuracy:.1%}",
        fontsize=12,
        color=INK,
        loc="left",
    )
    for edge in axes.spines.values():
        edge.set_color(FAINT)
    if written:
        axes.set_xticks(np.arange(-0.5, classes), minor=True)
        axes.set_yticks(np.arange(-0.5, classes), minor=True)
        axes.grid(which="minor", color="white", lw=2)
    axes.tick_params(which="minor", length=0)
    figure.savefig(path)


def plot_comparison(
    systems: Mapping[str, float], path: Path, *, title: str, chance: float | None = None
) -> None:
    """Draw the balanced accuracy of several systems as bars, in the order given.

    Args:
        systems: name of a system -> its balanced accuracy, 0 to 1.
        path: where the picture (PNG) goes.
        title: what the systems were judged on.
        chance: balanced accuracy of guessing, drawn as a line.
    """
    names = list(systems)
    scores = list(systems.values())
    figure = Picture(figsize=(8, 1.5 + 0.75 * len(names)), dpi=200, layout="constrained")
    axes = figure.subplots()
    best = max(scores)
    colors = [COLORS["cross_entropy"] if score == best else "#8fb8d6" for score in scores]
    axes.barh(names, scores, color=colors, height=0.62)
    for row, score in enumerate(scores):
        inside = score > 0.15
        axes.text(
            score - 0.012 if inside else score + 0.012,
            row,
            f"{score:.1%}",
            ha="right" if inside else "left",
            va="center",
            fontsize=13,
            fontweight="bold",
            color="white" if inside and score == best else INK,
        )
    if chance is not None:
        axes.axvline(chance, color=INK, lw=1.2, ls="--")
        axes.text(
            chance + 0.008, len(names) - 0.42, f"chance {chance:.0%}", fontsize=9.5, color=INK, va="bottom"
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(len(names) - 0.1 if chance is not None else len(names) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_title(title, fontsize=12.5, color=INK, loc="left")
    axes.set_xlabel("balanced accuracy", fontsize=11, color=INK)
    clean_axes(axes, grid="x")
    axes.tick_params(axis="y", labelsize=12.5, length=0)
    figure.savefig(path)


def plot_accuracy_by_word_errors(bins: Sequence[WordErrorBin], path: Path, *, title: str) -> None:
    """Draw the accuracy against the word error rate of the transcripts read.

    Args:
        bins: rows of `accuracy_by_word_errors`.
        path: where the picture (PNG) goes.
        title: what was judged.
    """
    figure = Picture(figsize=(8, 4.2), dpi=200, layout="constrained")
    axes = figure.subplots()
    places, scores = range(len(bins)), [found.accuracy for found in bins]
    axes.bar(places, scores, color=COLORS["cross_entropy"], width=0.62)
    for place, found in zip(places, bins, strict=True):
        axes.text(
            place,
            found.accuracy + 0.015,
            f"{found.accuracy:.1%}\nof {found.utterances}",
            ha="center",
            va="bottom",
            fontsize=11,
            color=INK,
        )
    axes.set_xticks(places, [bin_name(found) for found in bins])
    axes.set_ylim(0, 1.15)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_title(title, fontsize=12.5, color=INK, loc="left")
    axes.set_xlabel("word error rate of what was read", fontsize=11, color=INK)
    axes.set_ylabel("accuracy", fontsize=11, color=INK)
    clean_axes(axes)
    figure.savefig(path)


def clean_axes(axes: Axes, grid: Literal["x", "y"] = "y") -> None:
    """Keep faint lines at the left and the bottom only, and draw a faint grid behind the rest."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=10, length=3)
    axes.grid(axis=grid, color="#e8ecef", lw=0.8)
    axes.set_axisbelow(True)


def history_of(logs: Sequence[Mapping[str, float]]) -> pd.DataFrame:
    """Collect the trainer's log into one row per epoch, for `plot_curves`.

    Args:
        logs: `TrainerState.log_history`: objectives averaged over windows of steps within an epoch, and the scores of
            each epoch's evaluation.

    Returns:
        `epoch`, the mean of each objective over the steps of the epoch, `balanced_accuracy` of its evaluation and,
        where they were evaluated, the scores of single modalities.
    """
    sums: dict[int, dict[str, float]] = {}
    steps: dict[int, int] = {}
    scores: dict[int, dict[str, float]] = {}
    last_step = 0
    for log in logs:
        epoch = int(np.ceil(log["epoch"] - 1e-6))
        if "eval_balanced_accuracy" in log:
            scores[epoch] = {name: log[f"eval_{name}"] for name in SCORES if f"eval_{name}" in log}
        elif "cross_entropy" in log:
            window = int(log["step"]) - last_step
            last_step = int(log["step"])
            steps[epoch] = steps.get(epoch, 0) + window
            row = sums.setdefault(epoch, dict.fromkeys(NAMES, 0.0))
            for name in NAMES:
                row[name] += window * log.get(name, np.nan)
    rows = [
        {"epoch": epoch}
        | scores.get(epoch, {})
        | {name: total / steps[epoch] for name, total in row.items() if not np.isnan(total)}
        for epoch, row in sums.items()
    ]
    return pd.DataFrame(rows, columns=["epoch", *NAMES, *SCORES])
