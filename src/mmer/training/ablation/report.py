"""Tables and plots of an ablation: results, confusion matrices, gradient shares, and the transcript curve."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator, PercentFormatter
from rich.console import Group
from rich.text import Text

from mmer.display.picture import FAINT, INK, Picture, additional_picture, ink_on
from mmer.display.terminal import Table
from mmer.evaluation.metrics import Metrics
from mmer.evaluation.plots import COLORS, NAMES, clean_axes
from mmer.evaluation.report.tables import markdown_text
from mmer.files.writing import write_text
from mmer.plain_text import points
from mmer.training.ablation.results import Ablation, TranscriptFigures

PAPER = "The paper's figures are of IEMOCAP, another corpus: not to be compared with those beside them."
PAPER_WITH_ASR = 0.750
"""Accuracy of MMER in the paper with transcripts of a speech recognizer at test time."""
_BLUES = LinearSegmentedColormap.from_list("mmer", ["#ffffff", COLORS["cross_entropy"]])
_SHORT = 13  # characters of an emotion's name below a matrix
_ACROSS = 4  # confusion matrices per row


def ablation_tables(content: Ablation) -> Group:
    """Return tables of an ablation for the terminal."""
    parts: list[Any] = []
    for title, headings, rows, note in _tables(content):
        # Without padding, and folded where need be, all of it fits into 80 characters.
        table = Table(title=title, title_justify="left", title_style="bold", padding=0)
        table.add_column(headings[0], overflow="fold")
        for heading in headings[1:]:
            table.add_column(heading, justify="right")
        for row in rows:
            table.add_row(*map(Text, row))
        parts += [table, Text(note, style="dim")]
    return Group(*parts)


def write_markdown(content: Ablation, path: Path) -> None:
    """Write the same tables as Markdown."""
    parts = []
    for title, headings, rows, note in _tables(content):
        rule = ["---", *["---:"] * (len(headings) - 1)]
        lines = "\n".join(
            "| " + " | ".join(map(markdown_text, row)) + " |" for row in (headings, rule, *rows)
        )
        parts.append(f"## {title}\n\n{lines}\n\n{markdown_text(note)}\n")
    write_text(path, "\n".join(parts))


def _tables(content: Ablation) -> list[tuple[str, list[str], list[list[str]], str]]:
    """Return title, headings, rows and note of each table."""
    rows = content.rows
    full = rows["mmer"].accuracy if "mmer" in rows else None
    cells = []
    for row in rows.values():
        accuracy = row.accuracy
        less = "" if full is None or accuracy is None else points(accuracy - full)
        figures = [_percent(accuracy), less, _percent(row.balanced_accuracy)]
        cells.append(
            [
                row.title,
                row.learns,
                *figures,
                _points(row.neutral_bias),
                _percent(row.paper_accuracy),
            ]
        )
    headings = [
        "system",
        "what learns",
        "accuracy (WA)",
        "to MMER",
        "balanced accuracy (UA)",
        "neutral bias",
        "paper, IEMOCAP",
    ]
    skipped = [f" {row.title}: {row.note}." for row in rows.values() if row.note]
    note = f"Means over folds; differences and neutral bias in points.{''.join(skipped)} {PAPER}"
    tables = [("Ablation", headings, cells, note)]
    if conditions := content.transcripts:
        cells = [
            [
                each.condition,
                *map(_percent, (each.word_error_rate, each.accuracy, each.balanced_accuracy)),
            ]
            for each in conditions
        ]
        headings = ["transcripts", "word error rate", "accuracy (WA)", "balanced accuracy (UA)"]
        note = f"The paper has {PAPER_WITH_ASR:.1%} accuracy with those of a speech recognizer, on IEMOCAP."
        tables.append(("MMER with other transcripts at test time, all folds together", headings, cells, note))
    return tables


def plot(content: Ablation, folder: Path) -> list[Path]:
    """Draw the available plots into a folder.

    Returns:
        The paths of the plots (PNG): `confusion_matrices.png`, `gradient_shares.png` and `transcripts.png`.
    """
    pictures = []
    if matrices := {row.title: row.pooled for row in content.rows.values() if row.pooled}:
        with additional_picture("confusion_matrices.png"):
            pictures.append(_plot_matrices(matrices, folder / "confusion_matrices.png"))
    if content.gradient_shares:
        with additional_picture("gradient_shares.png"):
            pictures.append(_plot_shares(content.gradient_shares, folder / "gradient_shares.png"))
    if content.transcripts:
        speech = content.rows["speech"].pooled if "speech" in content.rows else None
        score = None if speech is None else speech.balanced_accuracy
        with additional_picture("transcripts.png"):
            pictures.append(_plot_transcripts(content.transcripts, score, folder / "transcripts.png"))
    return pictures


def _plot_matrices(matrices: Mapping[str, Metrics], path: Path) -> Path:
    labels = next(iter(matrices.values())).labels
    side = max(2.1, 0.42 * len(labels))
    across = min(_ACROSS, len(matrices))
    down = -(-len(matrices) // across)
    size = (max(4.0, across * (side + 0.25) + 1.0), down * (side + 0.95) + 0.9)
    figure = Picture(figsize=size, dpi=200, layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).flatten()
    for axes, (title, figures) in zip(panels, matrices.items(), strict=False):
        counts = np.asarray(figures.confusion_matrix)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap=_BLUES, vmin=0, vmax=1)
        for row, column in np.ndindex(*counts.shape):
            ink = ink_on(_BLUES(float(shares[row, column])))
            share = f"{100 * shares[row, column]:.0f}"
            axes.text(column, row, share, ha="center", va="center", color=ink, fontsize=9)
        axes.set_title(f"{title}\n{figures.balanced_accuracy:.1%}", fontsize=9.5, color=INK, loc="left")
        names = [figure.label(label, _SHORT, 1) for label in labels]
        axes.set_xticks(range(len(labels)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(labels)), [figure.label(label, 2 * _SHORT, 2) for label in labels])
        axes.tick_params(length=0, labelsize=9, labelcolor=INK)
        axes.spines[:].set_color(FAINT)
    for axes in panels[len(matrices) :]:
        axes.set_visible(False)
    # A hidden panel has no column names to share with those above.
    for axes in panels[max(0, len(matrices) - across) : len(matrices)]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel("predicted; in each cell percent of the true emotion", fontsize=10, color=INK)
    figure.supylabel("true", fontsize=10, color=INK)
    figure.savefig(path)
    return path


def _plot_shares(shares: Mapping[str, Sequence[float]], path: Path) -> Path:
    figure = Picture(figsize=(8, 4.2), dpi=200, layout="constrained")
    axes = figure.subplots()
    names = [name for name in NAMES if name in shares]
    epochs = np.arange(len(shares[names[0]]))
    below = np.zeros(len(epochs))
    for name in names:
        height = np.asarray(shares[name])
        axes.bar(
            epochs,
            height,
            bottom=below,
            width=0.9,
            color=COLORS[name],
            label=f"{NAMES[name]} {height.mean():.0%}",
        )
        below += height
    axes.set_title(
        "Share of each weighted objective in the norm of the gradient\non the parameters that all objectives reach",
        fontsize=11.5,
        color=INK,
        loc="left",
    )
    axes.set_xlabel("epochs trained before", fontsize=11, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(-0.6, len(epochs) - 0.4)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    handles, titles = axes.get_legend_handles_labels()
    figure.legend(
        handles[::-1],
        titles[::-1],
        loc="outside right center",
        frameon=False,
        fontsize=10,
        title="mean over training",
    )
    clean_axes(axes)
    figure.savefig(path)
    return path


def _plot_transcripts(conditions: Sequence[TranscriptFigures], speech: float | None, path: Path) -> Path:
    figure = Picture(figsize=(8, 4.2), dpi=200, layout="constrained")
    axes = figure.subplots()
    curve = [each for each in conditions if each.condition != "none" and each.word_error_rate is not None]
    rates = [each.word_error_rate or 0.0 for each in curve]
    scores = [each.balanced_accuracy for each in curve]
    axes.plot(rates, scores, "o-", color=COLORS["cross_entropy"], lw=2, ms=6)
    for rate, score in zip(rates, scores, strict=True):
        axes.annotate(
            f"{score:.1%}",
            (rate, score),
            (0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=10,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    lines = {
        "MMER without transcripts": next(
            each.balanced_accuracy for each in conditions if each.condition == "none"
        )
    }
    if speech is not None:
        lines["speech only, trained without text"] = speech
    for (title, score), name in zip(lines.items(), ("ctc", "supervised_contrastive"), strict=False):
        axes.axhline(score, color=COLORS[name], lw=1.6, ls="--", zorder=1, label=f"{title} {score:.1%}")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=10, labelcolor=INK)
    axes.margins(x=0.06)
    every = [*scores, *lines.values()]
    axes.set_ylim(max(0, min(every) - 0.08), min(1.04, max(every) + 0.08))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("word error rate of the transcripts at test time", fontsize=11, color=INK)
    axes.set_title("MMER: balanced accuracy", fontsize=11.5, color=INK, loc="left")
    clean_axes(axes)
    figure.savefig(path)
    return path


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _points(share: float | None) -> str:
    return "" if share is None else points(share)
