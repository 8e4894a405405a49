"""Plots of a report as inline SVG, with text as text and colors that follow the page's light or dark theme."""

import html
import io
import re
from collections.abc import Mapping, Sequence
from functools import partial

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from mmer.corpora.emotion_colors import emotion_colors
from mmer.display.picture import FAINT, INK, Picture, legend_columns, legend_name, legend_widths, soft_axes
from mmer.evaluation.calibration.plots import draw_reliability
from mmer.evaluation.intervals import Interval
from mmer.evaluation.plots import COLORS, NAMES
from mmer.plain_text import counted, shortened

WIDTH = 4.4  # inches; the page scales plots to the screen
PANEL = 3.0  # inches of one learning curve
_GROUPS = ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_MARKERS = "osD^vP*X"
_LEGEND = 9  # points of the legend's text
_NAME = 24  # characters of a name in a plot
_TICKS = 13  # most numbers below a plot
_NAMED = 30  # most speakers for which each has its own line
_PAGE_COLORS = {INK: "currentColor", FAINT: "var(--rule)", "#0072b2": "var(--blue)"}
_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def speaker_dots(speakers: pd.DataFrame, pooled: float, found: Interval) -> str:
    """Draw the balanced accuracy of each tested speaker beside the overall one.

    Args:
        speakers: rows of `speaker_figures`.
        pooled: balanced accuracy of all utterances, 0 to 1.
        found: its interval.
    """
    count = len(speakers)
    figure = Picture(
        figsize=(WIDTH, 1.0 + (0.26 * count if count <= _NAMED else 2.6)), dpi=72, layout="constrained"
    )
    axes = soft_axes(figure.subplots(), "x")
    if found.low is not None and found.high is not None:
        axes.axvspan(found.low, found.high, color="#0072b2", alpha=0.15, lw=0)
    axes.axvline(pooled, color="#0072b2", lw=1.5)
    rows = np.arange(count)[::-1]
    for place, (gender, who) in enumerate(speakers.groupby(speakers["gender"].fillna(""))):
        axes.scatter(
            who["balanced_accuracy"],
            rows[who.index],
            s=34,
            zorder=3,
            color=_GROUPS[place % len(_GROUPS)],
            marker=_MARKERS[place % 8],
            label=legend_name(str(gender)) or "unknown",
        )
    if count <= _NAMED:
        axes.set_yticks(rows, [shortened(speaker, _NAME) for speaker in speakers["speaker"]])
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{counted(count, 'speaker')}", color=INK)
    axes.set_ylim(-0.7, count - 0.3)
    axes.set_xlim(0, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("balanced accuracy", color=INK)
    if speakers["gender"].notna().any():
        _legend(figure, axes)
    words = f"Balanced accuracy of {counted(count, 'speaker')}, from {speakers['balanced_accuracy'].min():.1%} to "
    return _svg(
        figure, "dots", f"{words}{speakers['balanced_accuracy'].max():.1%}; all together {pooled:.1%}."
    )


def learning_curves(
    histories: Mapping[str, pd.DataFrame], kept: Mapping[str, int], selection: str, *, chance: float
) -> str:
    """Draw the objectives and the score by epoch, a line for each fold and their mean.

    Args:
        histories: fold -> table of `history_of`.
        kept: fold -> epoch whose model is kept.
        selection: the split judged after each epoch.
        chance: balanced accuracy of guessing, drawn as a line.
    """
    table = pd.concat(histories.values(), keys=list(histories), names=["fold"]).reset_index("fold")
    panels = [name for name in (*NAMES, "balanced_accuracy") if table[name].notna().any()]
    drawn = list[str]()
    for number, name in enumerate(panels):
        figure = Picture(figsize=(PANEL, 0.66 * PANEL), dpi=72, layout="constrained")
        axes = figure.subplots()
        soft_axes(axes, "y")
        color = COLORS.get(name, INK)
        for fold, history in histories.items():
            alone = len(histories) == 1
            axes.plot(history["epoch"], history[name], color=color, lw=1.8 if alone else 0.7)
            at = history[history["epoch"] == kept[fold]]
            axes.plot(at["epoch"], at[name], "o", color=color, ms=5 if alone else 2.5)
        if len(histories) > 1:
            mean = table.groupby("epoch")[name].mean()
            axes.plot(mean.index, mean.to_numpy(), color=color, lw=2.4)
        title = NAMES.get(name, f"score on {selection}")
        axes.set_title(title, loc="left", fontsize=9, color=color, fontweight="bold")
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.set_xlabel("epoch", color=INK, fontsize=9)
        if name == "balanced_accuracy":
            axes.axhline(chance, color=INK, lw=1, ls="--")
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        named = NAMES.get(name, f"balanced accuracy on {selection}")
        drawn.append(
            _svg(figure, f"curves-{number}", f"{named} over {counted(table['epoch'].max(), 'epoch')}.")
        )
    return f'<div class="panels">{"".join(drawn)}</div>'


def layer_weights(weights: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Draw the learned weights of the hidden states of each encoder.

    Args:
        weights: fold -> `speech` or `text` -> number of a hidden state -> weight.
    """
    sides = list(dict.fromkeys(side for fold in weights.values() for side in fold))
    figure = Picture(figsize=(WIDTH, 0.3 + 1.7 * len(sides)), dpi=72, layout="constrained")
    highest = []
    for axes, side in zip(figure.subplots(len(sides), squeeze=False).ravel(), sides, strict=True):
        soft_axes(axes, "y")
        table = pd.DataFrame([fold[side] for fold in weights.values() if side in fold])
        numbers = [int(str(number)) for number in table]
        color = COLORS["cross_entropy"]
        if len(table) > 1:
            for row in table.to_numpy():
                axes.plot(numbers, row, color=color, lw=0.7)
        mean = table.mean().to_numpy()
        axes.plot(numbers, mean, "o-", color=color, lw=1.8, ms=5)
        axes.axhline(1 / len(numbers), color=INK, lw=1, ls=":")
        axes.set_ylim(0, 1.1 * table.to_numpy().max())
        axes.set_xticks(numbers[:: -(-len(numbers) // _TICKS)])
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_title(f"{side} encoder", loc="left", fontsize=9, color=INK, fontweight="bold")
        axes.set_xlabel("hidden state", color=INK, fontsize=9)
        best = int(mean.argmax())
        highest.append(f"{side} encoder, highest {mean[best]:.0%} for hidden state {numbers[best]}")
    return _svg(figure, "layers", f"Learned weights of hidden states: {'; '.join(highest)}.")


def reliability_diagram(bins: pd.DataFrame, error: float) -> str:
    """Draw accuracy against confidence.

    Args:
        bins: rows of `confidence_bins`.
        error: value of `calibration_error`.
    """
    figure = Picture(figsize=(WIDTH, WIDTH), dpi=72, layout="constrained")
    draw_reliability(figure, bins)
    words = f"Reliability diagram; the expected calibration error is {error:.1%}."
    return _svg(figure, "calibration", words)


def embedding_map(
    places: NDArray[np.floating], emotions: Sequence[str], predicted: Sequence[str], labels: Sequence[str]
) -> str:
    """Draw utterances on a plane, with a color and a shape per true emotion, hollow where the model is wrong.

    Args:
        places: (utterances, 2).
        emotions, predicted: (utterances,).
        labels: emotions in the order of the legend.
    """
    figure = Picture(figsize=(WIDTH, WIDTH), dpi=72, layout="constrained")
    axes = figure.subplots()
    truth, answers = np.asarray(emotions), np.asarray(predicted)
    colors = emotion_colors(labels)
    for place, label in enumerate(labels):
        color, marker = colors[label].light, _MARKERS[place % len(_MARKERS)]
        draw = partial(axes.scatter, marker=marker, s=17, linewidths=0.9, edgecolors=color)
        right, wrong = (
            places[(truth == label) & (answers == label)],
            places[(truth == label) & (answers != label)],
        )
        draw(right[:, 0], right[:, 1], facecolors=color, label=legend_name(label))
        draw(wrong[:, 0], wrong[:, 1], facecolors="none")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(FAINT)
    _legend(figure, axes)
    words = f"Map of the embeddings of {counted(len(places), 'utterance')}, colored by true emotion."
    return _svg(figure, "map", words, _PAGE_COLORS | {color.light: color.css for color in colors.values()})


def _legend(figure: Figure, axes: Axes) -> None:
    """Write a legend below the axes, and make the figure as much higher."""
    handles, names = axes.get_legend_handles_labels()
    names = [shortened(name, _NAME) for name in names]
    columns = legend_columns(legend_widths(names, _LEGEND), WIDTH)
    figure.set_figheight(figure.get_figheight() + 0.17 * -(-len(names) // columns))
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        labelcolor=INK,
        fontsize=_LEGEND,
    )


def _svg(figure: Figure, name: str, alternative: str, colors: Mapping[str, str] = _PAGE_COLORS) -> str:
    """Return the plot as an element of a page; its ids begin with `name`, so that they are unique there.

    Args:
        figure: the plot.
        name: of the element.
        alternative: text in place of the plot.
        colors: CSS that takes the place of each color of the plot.
    """
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10}):
        figure.savefig(file, format="svg", transparent=True, metadata=_METADATA)
    svg = file.getvalue()
    opening, _, content = svg[svg.index("<svg") :].partition(">")
    opening = re.sub(r' (?:xmlns(?::xlink)?|version|width|height)="[^"]*"', "", opening)
    svg = f"{opening}>{re.sub(r'<style.*?</style>', '', content, flags=re.DOTALL)}"
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg).replace("xlink:href", "href")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub("|".join(colors), lambda found: colors[found[0]], svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(alternative)}"', 1)
