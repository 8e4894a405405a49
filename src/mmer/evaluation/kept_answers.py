"""Answers to many utterances that an interrupted call keeps, for the same call to go on from."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mmer.files.writing import writable
from mmer.inference.inputs import Utterance
from mmer.inference.prediction import Prediction
from mmer.plain_text import counted
from mmer.runs.journal import Journal

if TYPE_CHECKING:
    from mmer.inference.recognizer import EmotionRecognizer

PART = "predictions.part.jsonl"
"""The answers until all are there: what they are of, then a row for each."""

Kept = TypeVar("Kept")


def answer_journal(path: Path, **of: object) -> Journal:
    """Open the journal of answers, and remove those of another request.

    Args:
        path: of the journal, which the caller removes when all answers are written elsewhere.
        of: all that the answers depend on.

    Raises:
        MMERError: the folder cannot be written to.
        CheckpointError: the journal is damaged.
    """
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    journal, begin = Journal(path), {"of": of}
    if journal.entries()[:1] != [begin]:
        journal.path.unlink(missing_ok=True)
        with journal.appending() as append:
            append(begin)
    return journal


def answer_all(
    recognizer: "EmotionRecognizer",
    utterances: Sequence[Utterance],
    keep: Callable[[Prediction], Kept],
    *,
    journal: Journal | None,
    progress: Callable[[int], None] | None,
    **settings: Any,
) -> list[Kept]:
    """Answer utterances, but for those in the journal.

    Args:
        recognizer: the model.
        utterances: to answer.
        keep: turns an answer into what is kept, which JSON can hold.
        journal: of `answer_journal`, which gets each answer at once; None to keep none.
        progress: called with the number of utterances done so far.
        settings: see `EmotionRecognizer.predict`.

    Returns:
        What is kept of each utterance, in order.

    Raises:
        KeyboardInterrupt: the user interrupts; with `journal`, its message says how many answers are kept.
    """
    rows: dict[int, Any] = {}
    if journal is not None:
        rows = {entry["place"]: entry["row"] for entry in journal.entries()[1:]}
    before = len(rows)
    left = [place for place in range(len(utterances)) if place not in rows]
    answers = recognizer.predict(
        [utterances[place] for place in left],
        progress=None if progress is None else lambda done: progress(before + done),
        **settings,
    )
    try:
        with nullcontext() if journal is None else journal.appending() as append:
            for place, prediction in zip(left, answers, strict=True):
                rows[place] = keep(prediction)
                if append is not None:
                    append({"place": place, "row": rows[place]})
    except KeyboardInterrupt:
        if journal is None:
            raise
        kept = counted(len(rows), "answer", "is", "are", of=len(utterances))
        raise KeyboardInterrupt(
            f"interrupted: {kept} in {journal.path}; the same command goes on from there"
        ) from None
    return [rows[place] for place in range(len(utterances))]
