"""An explanation as a picture."""

from pathlib import Path
from typing import IO, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from mmer.audio.load import SAMPLING_RATE
from mmer.display.picture import FAINT, INK, Picture
from mmer.inference.explain.explain import Explanation

FOR, AGAINST = "#0072b2", "#d55e00"
_BLUES = LinearSegmentedColormap.from_list("mmer", ["#ffffff", FOR])
_ROW = 0.26  # inches of a word
_LEGEND: dict[str, Any] = {
    "fontsize": 8.5,
    "labelcolor": INK,
    "loc": "best",
    "framealpha": 0.85,
    "edgecolor": "none",
}


def plot_explanation(explanation: Explanation, target: str | Path | IO[bytes]) -> None:
    """Draw what the answer owes to words and moments, the alignment and the counterfactuals.

    Args:
        explanation: of `explain`.
        target: path of the picture (PNG), or an open binary file.
    """
    words, alignment = explanation.words, explanation.alignment
    matrix = None if alignment is None else alignment.to_frames
    heights: dict[str, float] = {"answers": 0.7 + 0.3 * (1 + len(explanation.counterfactuals))}
    if words:
        heights["words"] = 0.8 + _ROW * len(words)
    if explanation.moments:
        heights["moments"] = 2.2
    if matrix is not None:
        heights["alignment"] = 0.8 + _ROW * len(matrix)
    figure = Picture(figsize=(8.6, 0.9 + sum(heights.values())), dpi=160, layout="constrained")
    panels = dict(
        zip(
            heights,
            figure.subplots(len(heights), 1, squeeze=False, height_ratios=list(heights.values()))[:, 0],
            strict=True,
        )
    )
    prediction = explanation.prediction
    assert prediction.label is not None
    sides = [
        f"{name} {share:+.1f}"
        for name, share in (("sound", explanation.sound_share), ("words", explanation.text_share))
        if share is not None
    ]
    told = f"why {prediction.label} ({prediction.confidence:.0%}): {', '.join(sides)} log-odds"
    figure.suptitle(told, fontsize=13, color=INK, x=0.01, ha="left", fontweight="bold")
    _answers(panels["answers"], explanation)
    if words:
        _words(panels["words"], explanation)
    if explanation.moments:
        _moments(panels["moments"], explanation)
    if matrix is not None and alignment is not None:
        axes = panels["alignment"]
        last = explanation.moments[-1].end if explanation.moments else float(alignment.times[-1])
        axes.imshow(matrix, aspect="auto", cmap=_BLUES, vmin=0, extent=(0, last, len(matrix), 0))
        axes.set_yticks(np.arange(len(matrix)) + 0.5, list(alignment.tokens))
        _title(axes, "where each token looks in the sound (cross-modal attention, mean of the heads)")
        _clean(axes)
        axes.set_xlabel("seconds", color=INK)
    figure.savefig(target, format="png")


def _answers(axes: Axes, explanation: Explanation) -> None:
    """The answer and those to the counterfactuals: probabilities of every emotion in one line each."""
    prediction = explanation.prediction
    rows = {"as it is": prediction.probabilities or {}}
    rows |= {name: changed.probabilities for name, changed in explanation.counterfactuals.items()}
    labels = list(prediction.probabilities or {})
    table = np.array([[row[label] for label in labels] for row in rows.values()])
    axes.imshow(table, aspect="auto", cmap=_BLUES, vmin=0, vmax=1)
    for (row, column), probability in np.ndenumerate(table):
        ink = "white" if probability > 0.55 else INK
        weight = "bold" if column == table[row].argmax() else "normal"
        axes.text(column, row, f"{probability:.0%}", ha="center", va="center", color=ink, fontweight=weight)
    axes.set_xticks(range(len(labels)), labels)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_yticks(np.arange(0.5, len(rows) - 1), minor=True)
    axes.grid(which="minor", axis="y", color="white", lw=3)
    _clean(axes)
    axes.tick_params(length=0)
    axes.tick_params(which="minor", length=0)


def _words(axes: Axes, explanation: Explanation) -> None:
    words = explanation.words
    places = np.arange(len(words))
    handles: list[Patch] = []
    for offset, shares, alpha, name in (
        (-0.2, [word.share for word in words], 1.0, "share (integrated gradients)"),
        (0.2, [word.drop for word in words], 0.45, "drop without it"),
    ):
        colors = [FOR if share >= 0 else AGAINST for share in shares]
        axes.barh(places + offset, shares, 0.38, color=colors, alpha=alpha)
        handles.append(Patch(color=FOR, alpha=alpha, label=name))
    axes.set_yticks(places, [word.word for word in words])
    axes.invert_yaxis()
    axes.axvline(0, color=FAINT, lw=1)
    axes.legend(handles=handles, **_LEGEND)
    _title(axes, "word by word, log-odds; blue for the answer, orange against it")
    _clean(axes)


def _moments(axes: Axes, explanation: Explanation) -> None:
    moments = explanation.moments
    starts = np.array([moment.start for moment in moments])
    widths = np.array([moment.end for moment in moments]) - starts
    if explanation.waveform is not None:
        behind = axes.twinx()
        every = max(1, len(explanation.waveform) // 4000)
        times = np.arange(0, len(explanation.waveform), every) / SAMPLING_RATE
        behind.plot(times, explanation.waveform[::every], color=FAINT, lw=0.4, zorder=0)
        peak = float(np.abs(explanation.waveform).max()) or 1.0
        behind.set_ylim(-1.1 * peak, 1.1 * peak)
        behind.set_axis_off()
        axes.set_zorder(behind.get_zorder() + 1)
        axes.patch.set_visible(False)
    shares = np.array([moment.share for moment in moments])
    drops = np.array([moment.drop for moment in moments])
    colors = [FOR if share >= 0 else AGAINST for share in shares]
    axes.bar(starts, shares, widths * 0.94, align="edge", color=colors, label="share (integrated gradients)")
    axes.step(
        np.append(starts, moments[-1].end),
        np.append(drops, drops[-1]),
        where="post",
        color=INK,
        lw=1.3,
        label="drop where it is blank",
    )
    axes.axhline(0, color=FAINT, lw=1)
    axes.set_xlim(0, moments[-1].end)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.legend(**_LEGEND)
    _title(axes, "moment by moment, log-odds")
    axes.set_xlabel("seconds", color=INK)
    _clean(axes)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10.5, color=INK)


def _clean(axes: Axes) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9.5, length=3)
