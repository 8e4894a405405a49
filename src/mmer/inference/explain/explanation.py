"""Explanations of answers: the contributions of words, moments and the whole voice, as a picture, tables and files."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.text import Text

from mmer.audio.load import SAMPLING_RATE
from mmer.display.picture import FAINT, INK, Picture, ink_on
from mmer.display.terminal import Table
from mmer.errors import MMERError
from mmer.files.writing import check_output_file, write_json
from mmer.inference.explain.alignment import Alignment
from mmer.inference.explain.attribution import Completeness
from mmer.inference.explain.contributions import STANDS_OUT, Moment, Trait, Word, sentence
from mmer.inference.prediction import Prediction

FOR, AGAINST = "#0072b2", "#d55e00"
_BLUES = LinearSegmentedColormap.from_list("mmer", ["#ffffff", FOR])
_ROW = 0.26  # inches per word
_COLORS = "log-odds; blue for the answer, orange against it"
_NAME = 24  # characters in a line of a name beside a panel
_SENTENCE, _LINE = 92, 0.2  # characters in a line of the sentence, and inches of one


@dataclass(frozen=True)
class Counterfactual:
    """The answer to the same utterance with its speech or its text changed.

    Attributes:
        change: description of the change.
        transcript: the transcript that the model read.
        label: the answer.
        probabilities: probability of every emotion.
    """

    change: str
    transcript: str | None
    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Explanation:
    """The result of `explain`.

    Attributes:
        prediction: the answer that is explained.
        words: in order; empty for a model without text.
        moments: in order; empty for a model without speech.
        traits: of the voice, by the kind of functionals; empty for a model without functionals.
        sound_share, text_share: sums of the shares of moments and traits, and of the words; None for a missing
            modality.
        completeness: the check that the shares add up to the difference from the baseline.
        alignment: between words and sound; None if there is none.
        counterfactuals: `other words, same voice`; `same words, monotone`, without melody and stress; `same words, flat
            voice`, monotone, slower and quieter; those that the utterance's modalities allow.
        notes: what is missing, and why.
        waveform: (samples,) at 16 kHz, for the picture; None without sound.
    """

    prediction: Prediction
    words: list[Word]
    moments: list[Moment]
    traits: list[Trait]
    sound_share: float | None
    text_share: float | None
    completeness: Completeness
    alignment: Alignment | None
    counterfactuals: dict[str, Counterfactual]
    notes: list[str] = field(default_factory=list)
    waveform: NDArray[np.float32] | None = None

    @property
    def sentence(self) -> str:
        """Return one sentence about what stands out, see `mmer.inference.explain.contributions.sentence`."""
        return sentence(
            self.prediction, self.words, self.moments, self.traits, self.sound_share, self.text_share
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the sentence and everything but the waveform, JSON-serializable."""
        told = {
            name: value for name, value in asdict(replace(self, waveform=None)).items() if name != "waveform"
        }
        if self.alignment is not None:
            matrices = ("times", "to_frames", "to_tokens")
            told["alignment"] |= {
                name: None if (matrix := getattr(self.alignment, name)) is None else matrix.round(5).tolist()
                for name in matrices
            }
        return {"sentence": self.sentence, **told}

    def plot(self, target: str | Path | IO[bytes]) -> None:
        """Draw the contributions of words, traits and moments, the alignment and the counterfactuals.

        The sentence and the warnings of the answer stand above them.

        Args:
            target: path of the picture (PNG), or an open binary file.
        """
        words, alignment = self.words, self.alignment
        rows = alignment.shown_rows() if alignment is not None else None
        heights: dict[str, float] = {"answers": 0.8 + 0.33 * len(self.prediction.probabilities or {})}
        if words:
            heights["words"] = 1.0 + _ROW * len(words)
        if self.traits:
            heights["traits"] = 1.0 + _ROW * len(self.traits)
        if self.moments:
            heights |= {"waveform": 1.0, "moments": 1.9}
        if rows is not None:
            heights["alignment"] = 0.8 + _ROW * len(rows[0])
        figure = Picture(figsize=(8.6, 0.9 + sum(heights.values())), dpi=160, layout="constrained")
        lines = [self.sentence, *(f"Warning: {warning}" for warning in self.prediction.warnings)]
        title = "\n".join(figure.label(line, _SENTENCE) for line in lines)
        figure.set_figheight(figure.get_figheight() + _LINE * title.count("\n"))
        grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=list(heights.values()))[:, 0]
        panels = dict(zip(heights, grid, strict=True))
        figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left", fontweight="bold")
        _answers(figure, panels["answers"], self)
        if words:
            shown = [(figure.label(word.word, _NAME, 2), word.share, word.drop) for word in words]
            _contributions(panels["words"], shown, "word by word", "drop without it")
        if self.traits:
            shown = [(trait.kind, trait.share, trait.drop) for trait in self.traits]
            _contributions(panels["traits"], shown, "the voice as a whole", "drop where it is average")
        if self.moments:
            _waveform(panels["waveform"], self)
            _moments(panels["moments"], self)
            panels["waveform"].sharex(panels["moments"])
        if rows is not None and alignment is not None:
            axes = panels["alignment"]
            tokens, times_average = rows
            first, last = (
                (self.moments[0].start, self.moments[-1].end) if self.moments else alignment.times[[0, -1]]
            )
            extent = (float(first), float(last), len(tokens), 0)
            drawn = axes.imshow(times_average, aspect="auto", cmap=_BLUES, extent=extent)
            axes.set_xlim(0, _seconds(self))
            axes.set_yticks(np.arange(len(tokens)) + 0.5, tokens)
            _title(axes, "where each token looks in the sound (cross-modal attention, mean of the heads)")
            _clean(axes)
            axes.set_xlabel("seconds", color=INK)
            scale = figure.colorbar(drawn, ax=axes, pad=0.01)
            scale.set_label("times the average", color=INK, fontsize=9)
            scale.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
            scale.ax.tick_params(labelcolor=INK, labelsize=9, length=0)
        figure.savefig(target, format="png")


def _answers(figure: Picture, axes: Axes, explanation: Explanation) -> None:
    """Draw the probabilities of the answer and of the counterfactuals, one column each."""
    prediction = explanation.prediction
    columns = {"as it is": prediction.probabilities or {}}
    columns |= {name: changed.probabilities for name, changed in explanation.counterfactuals.items()}
    labels = list(prediction.probabilities or {})
    table = np.array([[column[label] for column in columns.values()] for label in labels])
    axes.imshow(table, aspect="auto", cmap=_BLUES, vmin=0, vmax=1)
    for (row, column), probability in np.ndenumerate(table):
        ink = ink_on(_BLUES(probability))
        weight = "bold" if row == table[:, column].argmax() else "normal"
        axes.text(column, row, f"{probability:.0%}", ha="center", va="center", color=ink, fontweight=weight)
    axes.set_xticks(range(len(columns)), [name.replace(", ", ",\n") for name in columns])
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(labels)), [figure.label(label, _NAME, 2) for label in labels])
    axes.set_xticks(np.arange(0.5, len(columns) - 1), minor=True)
    axes.grid(which="minor", axis="x", color="white", lw=3)
    _clean(axes)
    axes.tick_params(length=0)
    axes.tick_params(which="minor", length=0)


def _contributions(axes: Axes, contributions: list[tuple[str, float, float]], title: str, drop: str) -> None:
    """Draw names with their shares and their drops, one line each."""
    names, shared, drops = zip(*contributions, strict=True)
    places = np.arange(len(names))
    for offset, shares, alpha in ((-0.2, shared, 1.0), (0.2, drops, 0.45)):
        colors = [FOR if share >= 0 else AGAINST for share in shares]
        axes.barh(places + offset, shares, 0.38, color=colors, alpha=alpha)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.axvline(0, color=FAINT, lw=1)
    axes.set_xlim(*_limits([*shared, *drops]))
    _title(axes, f"{title}, {_COLORS}\nsolid: share (integrated gradients); pale: {drop}")
    _clean(axes)


def _waveform(axes: Axes, explanation: Explanation) -> None:
    """Draw the waveform around its middle, the loudest sample of each of 1000 steps."""
    waveform = explanation.waveform if explanation.waveform is not None else np.zeros(1, np.float32)
    edges = np.unique(np.linspace(0, len(waveform), 1001).astype(int))
    loudest = np.maximum.reduceat(np.abs(waveform), edges[:-1])
    axes.fill_between(edges[:-1] / SAMPLING_RATE, -loudest, loudest, color="#5b6b7a", lw=0)
    peak = float(loudest.max()) or 1.0
    axes.set_ylim(-1.05 * peak, 1.05 * peak)
    axes.set_yticks([])
    _title(
        axes,
        f"moment by moment, {_COLORS}\nbars: share (integrated gradients); line: drop where it is blank",
    )
    _clean(axes)
    axes.tick_params(labelbottom=False, length=0)


def _moments(axes: Axes, explanation: Explanation) -> None:
    moments = explanation.moments
    starts = np.array([moment.start for moment in moments])
    widths = np.array([moment.end for moment in moments]) - starts
    shares = np.array([moment.share for moment in moments])
    drops = np.array([moment.drop for moment in moments])
    colors = [FOR if share >= 0 else AGAINST for share in shares]
    axes.bar(starts, shares, widths * 0.94, align="edge", color=colors)
    ends = np.append(starts, moments[-1].end)
    axes.step(ends, np.append(drops, drops[-1]), where="post", color=INK, lw=1.3)
    axes.axhline(0, color=FAINT, lw=1)
    axes.set_xlim(0, _seconds(explanation))
    axes.set_ylim(*_limits([*shares, *drops]))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("seconds", color=INK)
    _clean(axes)


def _seconds(explanation: Explanation) -> float:
    """Return the duration of the recording; a network may not read the silence at its ends."""
    samples = 0 if explanation.waveform is None else len(explanation.waveform)
    return max(samples / SAMPLING_RATE, explanation.moments[-1].end if explanation.moments else 0.0)


def _limits(values: Iterable[float]) -> tuple[float, float]:
    """Choose limits of an axis of log-odds, in which a value that does not stand out looks small."""
    low, high = min(0.0, *values), max(0.0, *values)
    room = max(high - low, 2.5 * STANDS_OUT)
    return low - (0.08 if low < 0 else 0.02) * room, max(high + 0.08 * room, low + room)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10.5, color=INK)


def _clean(axes: Axes) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9.5, length=3)


def check_target(path: Path | None, inputs: Iterable[str | Path] = ()) -> None:
    """Check in advance whether an explanation can be written there.

    Args:
        path: the picture or the file; none to write nothing.
        inputs: files and folders that are read, and must not be overwritten.

    Raises:
        MMERError: the suffix is neither `.png` nor `.json`, the file cannot be written, or is an input.
    """
    if path is None:
        return
    if path.suffix.lower() not in (".png", ".json"):
        raise MMERError(f"cannot write an explanation to {path}: its name must end in .png or .json")
    check_output_file(path, inputs)


def write(explanation: Explanation, path: Path) -> None:
    """Write a `.png` picture, or everything as `.json`."""
    if path.suffix.lower() == ".png":
        explanation.plot(path)
    else:
        write_json(path, explanation.to_dict())


def explanation_tables(explanation: Explanation) -> Group:
    """Return the sentence, then tables of the answer and its counterfactuals, of words, traits and moments.

    The warnings of the answer and the notes stand below them.
    """
    prediction, told = explanation.prediction, explanation.completeness
    answers = Table(title="answers", title_justify="left")
    answers.add_column("emotion")
    for name in ("as it is", *explanation.counterfactuals):
        answers.add_column(name, justify="right")
    for label, probability in prediction.ranking:
        changed = (other.probabilities[label] for other in explanation.counterfactuals.values())
        answers.add_row(label, *(f"{each:.1%}" for each in (probability, *changed)))
    parts: list[RenderableType] = [Text(explanation.sentence, style="bold"), Text(), answers]
    rows = {
        "word": [(word.word, word.share, word.drop) for word in explanation.words],
        "voice": [(trait.kind, trait.share, trait.drop) for trait in explanation.traits],
        "seconds": [
            (f"{moment.start:.2f} to {moment.end:.2f}", moment.share, moment.drop)
            for moment in explanation.moments
        ],
    }
    for heading, shown in rows.items():
        if shown:
            table = Table(title=f"log-odds of {prediction.label}", title_justify="left")
            table.add_column(heading)
            table.add_column("share", justify="right")
            table.add_column(
                "drop where average" if heading == "voice" else "drop without it", justify="right"
            )
            for name, share, drop in shown:
                table.add_row(Text(name), f"{share:+z.2f}", f"{drop:+z.2f}")
            parts.append(table)
    sides = [
        f"{name} {share:+z.2f}"
        for name, share in (("sound", explanation.sound_share), ("words", explanation.text_share))
        if share is not None
    ]
    difference = told.answer - told.baseline
    parts.append(Text(f"{' and '.join(sides)} of {difference:+z.2f} above average sound and average words"))
    parts += [Text(f"{name}: {changed.change}") for name, changed in explanation.counterfactuals.items()]
    notes = [f"warning: {warning}" for warning in prediction.warnings]
    notes += [f"note: {note}" for note in explanation.notes]
    return Group(*parts, *(Text(note, style="yellow") for note in notes))
