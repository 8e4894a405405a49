"""Predictions as rows of a table on a terminal, each printed as it arrives."""

from collections.abc import Collection, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from mmer.display.terminal import BAR, bar
from mmer.inference.prediction import Prediction
from mmer.plain_text import one_line

_GAP = 2
_PERCENT = len("100.0%")
_LONGEST_LABEL = 16
_FEWEST_WORDS = 8  # columns below which no transcript is shown
_SMALLEST = 0.01  # probability below which an emotion has no row of its own


class PredictionTable:
    """Prints a row for each prediction: its name, the emotion, a bar, the probability and the transcript.

    Names keep their end, transcripts their beginning, where the console is too narrow for them. Warnings, the label
    set and an error stand in lines of their own below the row. A warning that was given before takes one line.

    Args:
        console: where to print.
        names: names of the rows to come, which the first column is made to fit.
        labels: emotions of the model.
        heading: of the first column.
        ranked: print a row for each emotion of at least 1 %, not only for the most probable one.
    """

    def __init__(
        self,
        console: Console,
        names: Collection[str],
        labels: Sequence[str],
        *,
        heading: str = "recording",
        ranked: bool = False,
    ) -> None:
        self._console, self._ranked, self._warned = console, ranked, set[str]()
        widest = max((cell_len(one_line(name)) for name in names), default=0)
        emotion = max((cell_len(one_line(label)) for label in labels), default=0) + 1  # of a question mark
        self._label = max(len("emotion"), min(emotion, _LONGEST_LABEL))
        room = console.width - self._label - BAR - 1 - _PERCENT - 2 * _GAP
        self._name = max(len(heading), min(widest, 2 * console.width // 5, room))
        self._indent = self._name + _GAP
        words = room - self._name - _GAP
        self._words = words if words >= _FEWEST_WORDS else 0
        headings = [
            _cell(heading, self._name),
            _cell("emotion", self._label),
            _cell("probability", BAR + 1 + _PERCENT),
        ]
        if self._words:
            headings.append(_cell("transcript", self._words))
        self._print(headings, style="bold")

    def add(self, prediction: Prediction, name: str | None = None) -> None:
        """Print a prediction, called by its `utterance_id` unless a name is given."""
        shown = [_last(prediction.utterance_id if name is None else name, self._name)]
        if prediction.label is None:
            style = "bold" if prediction.error is None else "red"
            shown.append(Text(one_line(prediction.answer), style=style))
            room = self._console.width - self._indent
            if shown[1].cell_len <= room:
                self._print(shown)
            else:
                self._print(shown[:1])
                self._below(shown[1])
            self._warnings(prediction)
            return
        (label, probability), *others = prediction.ranking
        doubt = "?" if prediction.abstained else ""
        self._row(shown[0], f"{label}{doubt}", probability, prediction.transcript or "", "bold")
        for other, share in others if self._ranked else ():
            if share >= _SMALLEST:
                self._row(_cell("", self._name), other, share, "", "")
        if prediction.abstained:
            self._below(Text("abstained: the probability is below the requested confidence", style="yellow"))
        if prediction.label_set is not None:
            self._below(Text(f"one of {', '.join(map(one_line, prediction.label_set))}"))
        self._warnings(prediction)

    def _warnings(self, prediction: Prediction) -> None:
        for warning in prediction.warnings if prediction.error is None else ():
            line = Text(one_line(f"warning: {warning}"), style="yellow")
            if warning in self._warned:
                line.truncate(self._console.width - self._indent, overflow="ellipsis")
            self._warned.add(warning)
            self._below(line)

    def _row(self, name: Text, label: str, probability: float, transcript: str, style: str) -> None:
        percent = f"{probability:.1%}".rjust(_PERCENT)
        measure = Text.assemble((bar(probability), "blue"), " ", percent)
        row = [name, _cell(label, self._label, style), measure]
        if self._words:
            row.append(_cell(transcript, self._words))
        self._print(row)

    def _print(self, cells: Sequence[Text], style: str = "") -> None:
        line = Text(" " * _GAP).join(cells)
        line.rstrip()
        line.stylize(style)
        self._console.print(line, soft_wrap=True)

    def _below(self, line: Text) -> None:
        self._console.print(Padding(line, (0, 0, 0, self._indent)))


def _cell(text: str, width: int, style: str = "") -> Text:
    cell = Text(one_line(text), style=style)
    cell.truncate(width, overflow="ellipsis", pad=True)
    return cell


def _last(text: str, width: int) -> Text:
    """Give the end of a name, which tells files of one folder apart."""
    text = one_line(text)
    if cell_len(text) > width:
        while cell_len(text) >= width:
            text = text[1:]
        text = f"…{text}"
    cell = Text(text)
    cell.truncate(width, pad=True)
    return cell
