"""Plot of a timeline: waveform, probabilities over time and transcript, for each channel and speaker."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator
from numpy.typing import NDArray

from mmer.display.picture import FAINT, INK, Picture, legend_name
from mmer.inference.prediction import Prediction

PICTURES = (".png", ".svg", ".pdf")
WIDTH = 12.0  # inches
STEPS = 1200  # points of a drawn waveform
NARROW = 0.03  # inches, about 4 pixels
BINS = 240  # time bins over which probabilities are averaged where segments are narrow
CHARACTER = 0.075  # inches per letter of the transcript
# Okabe and Ito's palette, distinguishable with every kind of color vision; then lighter colors for long label sets.
PALETTE = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f"),
    *("#80b9d9", "#f3cf80", "#80cfb9", "#e6bcd3"),
)


def plot_timeline(
    segments: Sequence[Prediction],
    path: str | Path | BinaryIO,
    *,
    labels: Sequence[str],
    duration: float,
    peaks: Mapping[str, NDArray[np.float32]],
    title: str,
    format: str | None = None,
) -> None:
    """Draw a timeline.

    Each channel has its waveform. Each of its speakers has a panel of probabilities, stacked from 0 to 1: as wide as
    the segment or, where segments are narrow, averaged over time bins and weighted by each segment's share of the bin.
    Words are written below where they fit; hatched segments have no answer.

    Args:
        segments: the answers, sorted by start.
        path: a file, or an open binary one.
        labels: emotions of the model.
        duration: duration of the recording in seconds.
        peaks: for each channel, the largest magnitude of each 10 ms, (steps,); empty for no waveform.
        title: title of the plot.
        format: png, svg or pdf; default: by the suffix, or PNG for an open file.
    """
    panels = _panels(segments)
    rows: list[tuple[str, str, list[Prediction]]] = []
    for channel in peaks or dict.fromkeys(channel for channel, _ in panels):
        if channel in peaks:
            rows.append(("wave", channel, []))
        for (where, speaker), inside in panels.items():
            if where == channel:
                rows.append(("answers", speaker, inside))
                if _lines(inside, duration):
                    rows.append(("words", speaker, inside))
    heights = {
        index: {
            "wave": 0.8,
            "answers": 1.3,
            "words": 0.18 * (_lines(inside, duration) or 0) + 0.05,
        }[kind]
        for index, (kind, _, inside) in enumerate(rows)
    }
    figure = Picture(figsize=(WIDTH, 1.1 + 1.08 * sum(heights.values())), dpi=130, layout="constrained")
    grid: Any = figure.subplots(
        len(rows) or 1, 1, sharex=True, squeeze=False, height_ratios=list(heights.values()) or None
    )
    colors = dict(zip(labels, _cycle(len(labels)), strict=True))
    for axes, (kind, name, inside) in zip(grid[:, 0], rows, strict=False):
        _clean(axes)
        if kind == "wave":
            _draw_wave(axes, peaks[name], name)
        elif kind == "answers":
            _draw_answers(axes, inside, duration, colors, name)
        else:
            _draw_words(axes, inside, duration)
    last = grid[-1, 0]
    last.set_xlim(0, duration)
    last.xaxis.set_major_locator(MultipleLocator(_tick(duration)))
    last.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _clock(seconds)))
    last.tick_params(axis="x", length=3, labelbottom=True)
    handles: list[Patch] = [Patch(color=colors[label], label=legend_name(label)) for label in labels]
    if any(segment.error is not None for segment in segments):
        handles.append(Patch(facecolor="white", edgecolor=INK, hatch="////", label="no answer"))
    figure.legend(
        handles=handles,
        loc="outside upper right",
        ncols=len(handles),
        frameon=False,
        fontsize=10,
        labelcolor=INK,
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK, fontweight="bold")
    figure.savefig(path, format=format or (None if isinstance(path, str | Path) else "png"))


def _panels(segments: Sequence[Prediction]) -> dict[tuple[str, str], list[Prediction]]:
    """Group segments by channel and speaker."""
    panels: dict[tuple[str, str], list[Prediction]] = {}
    for segment in segments:
        panels.setdefault((segment.channel, segment.speaker or ""), []).append(segment)
    return panels


def _span(segment: Prediction) -> tuple[float, float]:
    return segment.start or 0.0, segment.end or 0.0


def _draw_wave(axes: Axes, peaks: NDArray[np.float32], channel: str) -> None:
    group = ceil(len(peaks) / STEPS) or 1
    padded = np.pad(peaks, (0, -len(peaks) % group))
    loudest = padded.reshape(-1, group).max(axis=1)
    times = (np.arange(len(loudest)) + 0.5) * group / 100
    axes.fill_between(times, -loudest, loudest, color="#5b6b7a", lw=0)
    limit = max(float(loudest.max(initial=0.0)), 1e-3) * 1.05
    axes.set_ylim(-limit, limit)
    axes.set_yticks([])
    axes.set_ylabel("" if channel == "mix" else channel, fontsize=10, color=INK)


def _draw_answers(
    axes: Axes, segments: list[Prediction], duration: float, colors: dict[str, str], speaker: str
) -> None:
    answered = [segment for segment in segments if segment.probabilities is not None]
    many = _are_many(segments, duration)
    if many:
        edges, shares = _averaged(answered, list(colors), duration)
    else:
        edges = np.array([_span(segment) for segment in answered]).reshape(-1, 2)
        shares = np.array([list((segment.probabilities or {}).values()) for segment in answered])
    bottom = np.zeros(len(edges))
    if len(edges):
        for column, label in enumerate(colors):
            # A thin white line separates neighbors.
            axes.bar(
                edges[:, 0],
                shares[:, column],
                edges[:, 1] - edges[:, 0],
                bottom,
                align="edge",
                color=colors[label],
                lw=0 if many else 0.4,
                edgecolor="white",
            )
            bottom = bottom + shares[:, column]
    for segment in segments:
        if segment.probabilities is None:
            start, end = _span(segment)
            axes.axvspan(start, max(end, start), facecolor="none", edgecolor=INK, hatch="////", lw=0)
    if not many:
        inches = WIDTH / duration
        for segment in answered:
            start, end = _span(segment)
            assert segment.label is not None
            if (end - start) * inches > 0.095 * len(segment.label):
                axes.annotate(
                    segment.label, ((start + end) / 2, 1.0), (0, 2), textcoords="offset points", ha="center",
                    fontsize=9, color=INK, annotation_clip=False,
                )  # fmt: skip
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "", "1"])
    axes.set_ylabel(_shortened(speaker) or "probability", fontsize=10, color=INK)


def _shortened(name: str) -> str:
    """Shorten a text to the height of a panel."""
    return name if len(name) <= 16 else f"{name[:15]}…"


def _are_many(segments: Sequence[Prediction], duration: float) -> bool:
    """Tell whether half of the segments would be too narrow to see."""
    lengths = [end - start for start, end in map(_span, segments)]
    return bool(lengths) and float(np.median(lengths)) / duration * WIDTH < NARROW


def _averaged(
    segments: Sequence[Prediction], labels: Sequence[str], duration: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Average probabilities over time bins; return edges (bins, 2) in seconds and probabilities (bins, labels).

    Bins without speech are left out. Probabilities add up to 1 in each bin, however much of it is speech.
    """
    step = duration / BINS
    sums, weights = np.zeros((BINS, len(labels))), np.zeros(BINS)
    for segment in segments:
        start, end = _span(segment)
        values = np.array(list((segment.probabilities or {}).values()))
        for stretch in range(max(int(start / step), 0), min(int(end / step), BINS - 1) + 1):
            overlap = min(end, (stretch + 1) * step) - max(start, stretch * step)
            if overlap > 0:
                sums[stretch] += overlap * values
                weights[stretch] += overlap
    spoken = weights > 0
    left = np.arange(BINS)[spoken] * step
    return np.stack([left, left + step], axis=1), sums[spoken] / weights[spoken, None]


def _lines(segments: Sequence[Prediction], duration: float) -> int:
    """Count the lines of text below the segments; 0 if there are no words or they need more than 6."""
    needed = [
        len(_wrapped(segment, duration))
        for segment in segments
        if segment.transcript and segment.transcript.strip()
    ]
    return max(needed) if needed and max(needed) <= 6 else 0


def _wrapped(segment: Prediction, duration: float) -> list[str]:
    """Wrap the words to about the drawn width of the segment."""
    start, end = _span(segment)
    width = max(int((end - start) / duration * WIDTH * 0.93 / CHARACTER), 1)
    lines: list[str] = []
    for word in (segment.transcript or "").split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        elif len(word) > 1.3 * width:
            return [""] * 99
        else:
            lines.append(word)
    return lines


def _draw_words(axes: Axes, segments: Sequence[Prediction], duration: float) -> None:
    for segment in segments:
        start, end = _span(segment)
        text = "\n".join(_wrapped(segment, duration))
        axes.text((start + end) / 2, 1, text, ha="center", va="top", fontsize=8, color=INK)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.spines["bottom"].set_visible(False)


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK, labelbottom=False)


def _cycle(number: int) -> list[str]:
    return [PALETTE[index % len(PALETTE)] for index in range(number)]


def _tick(duration: float) -> float:
    """Choose a round tick interval in seconds, with at most 13 ticks."""
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
    return next((step for step in steps if duration / step <= 13), ceil(duration / 12 / 3600) * 3600)


def _clock(seconds: float) -> str:
    """Format seconds such as 0:20, 0:00.5 or 1:05:00."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    shown = f"{rest:02.0f}" if rest == int(rest) else f"{rest:04.1f}"
    return f"{hours}:{minutes:02d}:{shown}" if hours else f"{minutes}:{shown}"
