"""An explanation as the terminal shows it, and the files it is written to."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from mmer.display.terminal import Table
from mmer.errors import MMERError
from mmer.files.writing import check_output_file, write_json
from mmer.inference.explain.explain import Explanation


def check_target(path: Path | None, inputs: Iterable[str | Path] = ()) -> None:
    """Find out before the work whether an explanation can be written there.

    Args:
        path: the picture or the file; none to write nothing.
        inputs: files and folders that are read, and must not be written over.

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


def render(explanation: Explanation) -> Group:
    """Tables of the answer and its counterfactuals, of the words and of the moments."""
    prediction, told = explanation.prediction, explanation.completeness
    answers = Table(title="answers", title_justify="left")
    answers.add_column("")
    labels = [label for label, _ in prediction.ranking]
    for label in labels:
        answers.add_column(label, justify="right")
    answers.add_row("as it is", *(f"{probability:.1%}" for _, probability in prediction.ranking))
    for name, changed in explanation.counterfactuals.items():
        answers.add_row(name, *(f"{changed.probabilities[label]:.1%}" for label in labels))
    parts: list[RenderableType] = [answers]
    rows = {
        "word": [(word.word, word.share, word.drop) for word in explanation.words],
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
            table.add_column("drop without it", justify="right")
            for name, share, drop in shown:
                table.add_row(Text(name), f"{share:+.2f}", f"{drop:+.2f}")
            parts.append(table)
    sides = [
        f"{name} {share:+.2f}"
        for name, share in (("sound", explanation.sound_share), ("words", explanation.text_share))
        if share is not None
    ]
    difference = told.answer - told.baseline
    parts.append(Text(f"{' and '.join(sides)} of {difference:+.2f} above average sound and average words"))
    parts += [Text(f"{name}: {changed.change}") for name, changed in explanation.counterfactuals.items()]
    return Group(*parts, *(Text(note, style="yellow") for note in explanation.notes))
