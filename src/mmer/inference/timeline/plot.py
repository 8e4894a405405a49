"""Plot of a timeline: waveform, answers, smoothed probabilities with their peaks and words, for each voice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator
from numpy.typing import NDArray
from rich.cells import cell_len
from scipy.optimize import isotonic_regression

from mmer.corpora.emotion_colors import emotion_colors
from mmer.display.picture import (
    FAINT,
    INK,
    Picture,
    in_order,
    ink_on,
    legend_columns,
    legend_name,
    legend_widths,
)
from mmer.inference.prediction import Prediction
from mmer.inference.timeline.curves import smoothed_curves
from mmer.inference.timeline.segments import warning_lines
from mmer.inference.timeline.summary import Peak, summarize
from mmer.plain_text import shortened

PICTURES = (".png", ".svg", ".pdf")
WIDTH = 12.0  # inches
STEPS = 1200  # points of a drawn waveform
NARROW = 0.03  # inches, about 4 pixels
BINS = 240  # time bins that show the emotion of most of their speech where segments are narrow
CHARACTER = 0.075  # inches per letter of the transcript
LINES = 4  # most emotions that are drawn as lines
_TITLE = 110  # characters in a line of the title
_LEGEND = 10  # points of the legend's text
HEADROOM = 1.36  # top of the lines' panel, above 1, where peaks are named


@dataclass(frozen=True)
class _Row:
    """Row of the plot: the waveform of a channel, or the answers, lines or words of a speaker in it.

    Attributes:
        name: title on the left; empty for none.
        segments: those of the speaker.
    """

    kind: Literal["wave", "answers", "lines", "words"]
    name: str = ""
    segments: Sequence[Prediction] = ()

    def height(self, duration: float) -> float:
        """Return the height relative to the other rows."""
        title = 0.22 if self.name or self.kind == "answers" else 0
        if self.kind == "words":
            return 0.18 * (_lines(self.segments, duration) or 0) + 0.05 + title
        return {"wave": 0.55, "answers": 0.3, "lines": 1.5}[self.kind] + title


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

    Each channel has its waveform. Each of its speakers has a strip with the answers, as wide as the segments or, where
    those are narrow, time bins in the color of the emotion of most of their speech; hatched segments have no answer.
    Below it, lines show the smoothed probabilities of the emotions that are the answer of most speech, and triangles
    mark the segments in which those are most probable. Words are written below where they fit. Above the strip stand
    the shares of these emotions in the speech, with their 95 % intervals.

    Args:
        segments: the answers, sorted by start.
        path: a file, or an open binary one.
        labels: emotions of the model, or its dimensions.
        duration: duration of the recording in seconds.
        peaks: for each channel, the largest magnitude of each 10 ms, (steps,); empty for no waveform.
        title: title of the plot, which the warnings of the segments follow.
        format: png, svg or pdf; default: by the suffix, or PNG for an open file.
    """
    panels = _panels(segments)
    rows = _rows(panels, peaks, duration)
    heights = [row.height(duration) for row in rows]
    figure = Picture(figsize=(WIDTH, 1.1 + 1.08 * sum(heights)), dpi=130, layout="constrained")
    lines = [title, *(f"Warning: {line}" for line in warning_lines(segments))]
    title = "\n".join(figure.label(line, _TITLE) for line in lines)
    names = {label: figure.label(label, 40, 1) for label in labels}
    entries = [names[label] for label in labels]
    if any(segment.error is not None for segment in segments):
        entries.append("no answer")
    widths = legend_widths(entries, _LEGEND)
    beside = sum(widths) + 0.12 * cell_len(title) < WIDTH and "\n" not in title
    columns = len(entries) if beside else legend_columns(widths, 0.98 * WIDTH)
    if not beside:
        below = 0.2 * title.count("\n") + 0.21 * ceil(len(entries) / columns)
        figure.set_figheight(figure.get_figheight() + below + 0.1)
    grid: Any = figure.subplots(len(rows) or 1, 1, sharex=True, squeeze=False, height_ratios=heights or None)
    colors = {label: color.light for label, color in emotion_colors(labels).items()}
    for axes, row in zip(grid[:, 0], rows, strict=False):
        _clean(axes)
        shares = _shares(row.segments, names, duration) if row.kind == "answers" else ""
        if row.kind == "wave" and not any(channel == (row.name or "mix") for channel, _ in panels):
            shares = "no segments of speech"
        if row.name:
            name = shortened(row.name, 60)
            axes.set_title(name, loc="left", fontsize=10, color=INK, fontweight="bold", pad=3)
        if shares:
            axes.set_title(shares, loc="right", fontsize=8, color=INK, pad=3)
        if row.kind == "wave":
            _draw_wave(axes, peaks[row.name or "mix"])
        elif row.kind == "answers":
            _draw_answers(axes, row.segments, duration, colors, names)
        elif row.kind == "lines":
            _draw_lines(axes, row.segments, duration, colors, names)
        else:
            _draw_words(axes, row.segments, duration)
    last = grid[-1, 0]
    last.set_xlim(0, duration)
    last.xaxis.set_major_locator(MultipleLocator(_tick(duration)))
    last.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _clock(seconds)))
    last.tick_params(axis="x", length=3, labelbottom=True)
    if any(segment.probabilities is not None for segment in segments):
        smoothing = smoothed_curves([], labels, duration).seconds
        binned = any(row.kind == "answers" and _are_many(row.segments, duration) for row in rows)
        strips = f"Strips: the emotion of most speech in each {duration / BINS:.3g} s. " if binned else ""
        last.set_xlabel(
            f"Lines: mean probability around each moment (Gaussian, standard deviation {smoothing:.3g} s). "
            "Triangles: segments in which an emotion is most probable.\n"
            f"{strips}Above a strip: shares of its speech, with 95% intervals that take segments for independent.",
            fontsize=8,
            color=INK,
            loc="left",
        )
    handles: list[Patch] = [Patch(color=colors[label], label=legend_name(names[label])) for label in labels]
    if len(entries) > len(handles):
        handles.append(Patch(facecolor="white", edgecolor=INK, hatch="////", label="no answer"))
    figure.legend(
        handles=handles,
        loc="outside upper right" if beside else "outside lower left",
        ncols=columns,
        frameon=False,
        fontsize=_LEGEND,
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


def _rows(
    panels: Mapping[tuple[str, str], list[Prediction]],
    peaks: Mapping[str, NDArray[np.float32]],
    duration: float,
) -> list[_Row]:
    """List the rows of each channel: its waveform, and the answers, lines and words of each of its speakers."""
    rows = []
    for channel in peaks or dict.fromkeys(channel for channel, _ in panels):
        if channel in peaks:
            rows.append(_Row("wave", "" if channel == "mix" else channel))
        for (where, speaker), inside in panels.items():
            if where == channel:
                name = "" if speaker == channel and channel in peaks else speaker
                rows += [_Row("answers", name, inside), _Row("lines", segments=inside)]
                if _lines(inside, duration):
                    rows.append(_Row("words", segments=inside))
    return rows


def _span(segment: Prediction) -> tuple[float, float]:
    return segment.start or 0.0, segment.end or 0.0


def _draw_wave(axes: Axes, peaks: NDArray[np.float32]) -> None:
    group = ceil(len(peaks) / STEPS) or 1
    padded = np.pad(peaks, (0, -len(peaks) % group))
    loudest = padded.reshape(-1, group).max(axis=1)
    times = (np.arange(len(loudest)) + 0.5) * group / 100
    axes.fill_between(times, -loudest, loudest, color="#5b6b7a", lw=0)
    limit = max(float(loudest.max(initial=0.0)), 1e-3) * 1.05
    axes.set_ylim(-limit, limit)
    axes.set_yticks([])


def _draw_answers(
    axes: Axes,
    segments: Sequence[Prediction],
    duration: float,
    colors: Mapping[str, str],
    names: Mapping[str, str],
) -> None:
    many = _are_many(segments, duration)
    blocks = (
        _binned(segments, duration)
        if many
        else [(*_span(segment), segment.label) for segment in segments if segment.label is not None]
    )
    for start, end, label in blocks:
        # A thin white line separates neighbors.
        axes.axvspan(start, max(end, start), color=colors[label], lw=0 if many else 0.4, ec="white")
        name, ink = names[label], ink_on(colors[label])
        if not many and (end - start) / duration * WIDTH > 0.075 * cell_len(name) + 0.05:
            axes.text((start + end) / 2, 0.47, name, ha="center", va="center", fontsize=8.5, color=ink)
    for segment in segments:
        if segment.error is not None:
            start, end = _span(segment)
            axes.axvspan(start, max(end, start), facecolor="none", edgecolor=INK, hatch="////", lw=0)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.spines["bottom"].set_visible(False)


def _draw_lines(
    axes: Axes,
    segments: Sequence[Prediction],
    duration: float,
    colors: Mapping[str, str],
    names: Mapping[str, str],
) -> None:
    """Draw the smoothed probabilities of the main emotions, and mark their peaks; or the value of each dimension."""
    if any(segment.dimensions for segment in segments):
        for segment in segments:
            for name, value in (segment.dimensions or {}).items():
                axes.hlines(value, *_span(segment), colors[name], lw=2.5)
        axes.set_ylim(
            dimension_range([value for each in segments for value in (each.dimensions or {}).values()])
        )
        axes.set_yticks([0, 0.5, 1])
        return
    labels = list(colors)
    curves = smoothed_curves(segments, labels, duration)
    main = summarize(segments, labels, duration)[0].main(LINES)
    for each in main:
        axes.plot(curves.times, curves.values[:, labels.index(each.label)], color=colors[each.label], lw=1.8)
    peaks = [(each.label, each.peak) for each in main if each.peak]
    top = top_of([peak.probability for _, peak in peaks])
    _mark_peaks(axes, peaks, duration, colors, names, top)
    axes.set_ylim(0, HEADROOM * top)
    axes.set_yticks([0, top / 2, top], ["0", f"{top / 2:.0%}", f"{top:.0%}"])
    axes.grid(axis="y", color=FAINT, lw=0.5, alpha=0.6)


def dimension_range(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis for dimensions: those of their scale, 0 and 1, or of values outside it."""
    return min([0.0, *values]), max([1.0, *values])


def top_of(peaks: Sequence[float]) -> float:
    """Choose the largest probability that lines with these peaks need: a multiple of 20 %."""
    return min(ceil(5 * max(peaks, default=1.0) + 0.1) / 5, 1.0)


def _mark_peaks(
    axes: Axes,
    peaks: list[tuple[str, Peak]],
    duration: float,
    colors: Mapping[str, str],
    names: Mapping[str, str],
    top: float,
) -> None:
    """Mark peaks, each with its emotion, probability and time above it, side by side where they are close."""
    if not peaks:
        return
    peaks = sorted(peaks, key=lambda each: each[1].start + each[1].end)
    texts = [
        f"{in_order(shortened(names[label], 16))} {peak.probability:.0%} at {_clock(round(peak.start))}"
        for label, peak in peaks
    ]
    widths = np.array([(0.068 * cell_len(text) + 0.1) / WIDTH * duration for text in texts])
    packed = np.cumsum(widths) - widths / 2  # middles of names that stand side by side from the left edge
    wanted = np.array([(peak.start + peak.end) / 2 for _, peak in peaks])
    moved = isotonic_regression(wanted - packed).x  # the least moves that leave no overlap
    places = packed + np.clip(moved, 0, max(duration - widths.sum(), 0))
    for (label, peak), text, place in zip(peaks, texts, places, strict=True):
        middle, height = (peak.start + peak.end) / 2, peak.probability
        axes.plot([middle, place], [height, 1.15 * top], color=FAINT, lw=0.8, zorder=1)
        axes.plot([middle], [height], marker="v", color=colors[label], mec=INK, mew=0.6, ms=7, zorder=3)
        axes.text(place, 1.17 * top, text, ha="center", va="bottom", fontsize=8, color=INK)


def _shares(segments: Sequence[Prediction], names: Mapping[str, str], duration: float) -> str:
    """Write the shares of speech of the main emotions, with their intervals."""
    told = []
    for each in summarize(segments, list(names), duration)[0].main(LINES):
        low, high = each.share_low, each.share_high
        between = "" if low is None or high is None else f" ({100 * low:.0f} – {high:.0%})"
        told.append(f"{in_order(shortened(names[each.label], 16))} {each.share or 0:.0%}{between}")
    return "   ".join(told)


def _are_many(segments: Sequence[Prediction], duration: float) -> bool:
    """Tell whether half of the segments would be too narrow to see."""
    lengths = [end - start for start, end in map(_span, segments)]
    return bool(lengths) and float(np.median(lengths)) / duration * WIDTH < NARROW


def _binned(segments: Sequence[Prediction], duration: float) -> list[tuple[float, float, str]]:
    """Return start, end and emotion of each time bin with speech: the emotion with most seconds in it."""
    step = duration / BINS
    seconds: list[dict[str, float]] = [{} for _ in range(BINS)]
    for segment in segments:
        start, end = _span(segment)
        for place in range(max(int(start / step), 0), min(int(end / step), BINS - 1) + 1):
            overlap = min(end, (place + 1) * step) - max(start, place * step)
            if overlap > 0 and segment.label is not None:
                seconds[place][segment.label] = seconds[place].get(segment.label, 0.0) + overlap
    return [
        (place * step, (place + 1) * step, max(inside, key=lambda label: inside[label]))
        for place, inside in enumerate(seconds)
        if inside
    ]


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
