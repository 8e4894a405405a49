"""A picture of what a corpus holds: utterances of each emotion and of each speaker, and how long they are."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mmer.corpora.summary import NO_EMOTION, NO_SPEAKER
from mmer.display.picture import INK, Picture, soft_axes
from mmer.errors import MMERError
from mmer.files.writing import check_output_file

PICTURES = (".png", ".svg", ".pdf")

_BLUE = "#0072b2"
_MOST_BARS = 30
_WIDTH = 24  # characters of a line of a name


def check_picture(path: Path, inputs: Iterable[str | Path] = ()) -> None:
    """Check in advance whether `plot_corpus` can write a file.

    Raises:
        MMERError: its suffix is none of `PICTURES`, or it cannot be written or is an input.
    """
    if path.suffix.lower() not in PICTURES:
        raise MMERError(f"cannot draw {path}: its name must end in one of {', '.join(PICTURES)}")
    check_output_file(path, inputs)


def plot_corpus(table: pd.DataFrame, path: Path, *, title: str) -> None:
    """Draw counts of emotions and speakers, the 30 most frequent of each, and a histogram of durations.

    Args:
        table: of a corpus.
        path: `.png`, `.svg` or `.pdf`.
        title: what the corpus is called.

    Raises:
        MMERError: the file cannot be written.
    """
    check_picture(path)
    emotions = table["emotion"].fillna("").value_counts().rename({"": NO_EMOTION})
    speakers = table["speaker"].fillna("").value_counts().rename({"": NO_SPEAKER})
    rows = max(min(max(len(emotions), len(speakers)), _MOST_BARS), 3)
    figure = Picture(figsize=(12, 1.6 + 0.26 * rows), dpi=150, layout="constrained")
    first, second, third = figure.subplots(1, 3)
    _bars(figure, first, emotions, "emotion")
    _bars(figure, second, speakers, "speaker")
    _durations(third, table["duration"].dropna().to_numpy(float))
    figure.suptitle(figure.label(title, 100), fontsize=12, color=INK, x=0.01, ha="left")
    figure.savefig(path)


def _bars(figure: Picture, axes: Axes, counts: pd.Series, what: str) -> None:
    shown = counts.iloc[:_MOST_BARS]
    soft_axes(axes, "x")
    axes.barh(range(len(shown)), shown.to_numpy(), color=_BLUE, height=0.7)
    axes.set_yticks(range(len(shown)), [_name(figure, str(name)) for name in shown.index])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.margins(x=0.15)
    for place, count in enumerate(shown):
        axes.annotate(
            str(count),
            (count, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
        )
    more = f", {len(shown)} of {len(counts)}" if len(counts) > len(shown) else ""
    axes.set_title(f"{what}{more}", loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xlabel("utterances", fontsize=10, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _name(figure: Picture, name: str) -> str:
    """A name as it is drawn, on one line."""
    first, _, rest = figure.label(name, _WIDTH).partition("\n")
    return f"{first}…" if rest else first


def _durations(axes: Axes, seconds: np.ndarray) -> None:
    soft_axes(axes, "y")
    axes.set_title("duration", loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xlabel("seconds", fontsize=10, color=INK)
    axes.set_ylabel("utterances", fontsize=10, color=INK)
    if not len(seconds):
        axes.text(0.5, 0.5, "not known", ha="center", transform=axes.transAxes, color=INK)
        return
    axes.hist(seconds, bins=min(30, max(5, len(seconds) // 5)), color=_BLUE, edgecolor="white", lw=0.5)
    axes.axvline(float(np.median(seconds)), color=INK, lw=1.2, ls="--")
    axes.set_title(f"median {np.median(seconds):.1f} s", loc="right", fontsize=10, color=INK)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
