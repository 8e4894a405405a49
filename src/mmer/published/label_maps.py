"""Label maps: what a model's labels are called in its answers."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmer.corpora.labels import ALIASES, named_emotion
from mmer.errors import CheckpointError
from mmer.plain_text import one_line
from mmer.text.names import tidy

FOUR = {**{name: name for name in ("angry", "happy", "neutral", "sad")}, "excited": "happy"}
POLARITY = {
    **dict.fromkeys(("happy", "calm", "excited", "amused", "pleased", "enthusiastic"), "positive"),
    "neutral": "neutral",
    **dict.fromkeys(("angry", "sad", "fearful", "disgusted", "frustrated", "disappointed"), "negative"),
    **dict.fromkeys(("contemptuous", "anxious", "pained"), "negative"),
}
SHIPPED: Mapping[str, Mapping[str, str]] = {
    "canonical": {name: name for name in ALIASES},
    "four": FOUR,
    "polarity": POLARITY,
}
"""New name of each emotion, by its canonical name: `canonical`, the names that corpora have here; `four`, the usual
classes of IEMOCAP, with excited among happy; `polarity`, positive, neutral and negative."""


@dataclass(frozen=True)
class NewLabels:
    """What the labels of a model are called in its answers.

    Attributes:
        names: a name for each label of the model, in the order of its classes; None for one that is left out. Labels
            with the same name are added up.
        notes: in one line each, the labels that the map does not know.
    """

    names: Sequence[str | None]
    notes: list[str]


def new_labels(labels: Sequence[str], label_map: str | os.PathLike[str]) -> NewLabels:
    """Apply a label map to the labels of a model.

    Args:
        labels: of the model.
        label_map: one of `SHIPPED`, or a file of `read_label_map`. A label that is not in the file, or that
            `canonical` does not know, keeps its name; one that the other shipped maps do not know is left out.

    Raises:
        CheckpointError: there is no such map, or it names no label of the model.
        CorpusError: the file cannot be read.
    """
    name = os.fspath(label_map)
    if name in SHIPPED:
        names = [_shipped(label, name) for label in labels]
        unknown = [label for label, new in zip(labels, names, strict=True) if new is None]
        if name != "canonical":
            return NewLabels(names, _told(unknown, "labels left out, since the label map does not name them"))
        kept = [label if new is None else new for label, new in zip(labels, names, strict=True)]
        return NewLabels(kept, _told(unknown, "labels not known here, which keep their names"))
    if not Path(name).suffix:
        raise CheckpointError(
            f"no label map {name!r}; give {', '.join(SHIPPED)}, or a .yaml, .json or .csv file with an entry such as "
            "ang: angry for each label of the model"
        )
    from mmer.corpora.label_map import read_label_map  # imports pandas, which other models do not need

    entries = read_label_map(Path(name))
    unknown = [label for label in labels if tidy(label) not in entries]
    if len(unknown) == len(labels):
        raise CheckpointError(
            f"{name}: renames {', '.join(entries)}, and the model has none of these labels; it has {', '.join(labels)}"
        )
    return NewLabels(
        [entries.get(tidy(label), label) for label in labels],
        _told(unknown, "labels not in the label map, which keep their names"),
    )


def _shipped(label: str, name: str) -> str | None:
    emotion = named_emotion(label.replace("-", " "))
    return None if emotion is None else SHIPPED[name].get(emotion)


def _told(labels: Sequence[str], what: str) -> list[str]:
    return [one_line(f"{what}: {', '.join(labels)}")] if labels else []
