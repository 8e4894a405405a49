"""How far transcripts are from what was said, and how much that matters to the answers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from rapidfuzz.distance import Levenshtein

from mmer.display.terminal import Table
from mmer.text.transcripts import normalize_transcript

EDGES = (0.0, 0.25, 0.5, 1.0)
"""Upper ends of the bins of word error rate; the first holds what is exactly right, and one more what is beyond."""


@dataclass(frozen=True)
class WordErrors:
    """How far transcripts are from references; compared as `normalize_transcript` leaves them.

    Attributes:
        substitutions, deletions, insertions: of words, in the alignments with the fewest errors.
        words: of the references.
        character_errors: substitutions, deletions and insertions of characters, blanks between words included.
        characters: of the references, likewise.
        transcripts: how many were compared.
    """

    substitutions: int
    deletions: int
    insertions: int
    words: int
    character_errors: int
    characters: int
    transcripts: int

    @property
    def rate(self) -> float | None:
        """Word errors for each word of the references, the word error rate; None where there are no words."""
        errors = self.substitutions + self.deletions + self.insertions
        return errors / self.words if self.words else None

    @property
    def character_rate(self) -> float | None:
        """Character errors for each character of the references; None where there are none."""
        return self.character_errors / self.characters if self.characters else None

    def to_dict(self) -> dict[str, Any]:
        """The fields, `word_error_rate` and `character_error_rate`."""
        rates = {"word_error_rate": self.rate, "character_error_rate": self.character_rate}
        return {**asdict(self), **rates}


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> WordErrors:
    """Count the word and character errors of transcripts.

    >>> word_errors(["I never said that!"], ["i never said so to you"]).rate
    0.75
    """
    kinds: Counter[str] = Counter()
    words = character_errors = characters = 0
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        said, written = normalize_transcript(reference), normalize_transcript(hypothesis)
        kinds.update(edit.tag for edit in Levenshtein.editops(said.split(), written.split()))
        words += len(said.split())
        character_errors += Levenshtein.distance(said, written)
        characters += len(said)
    return WordErrors(
        substitutions=kinds["replace"],
        deletions=kinds["delete"],
        insertions=kinds["insert"],
        words=words,
        character_errors=character_errors,
        characters=characters,
        transcripts=len(references),
    )


def with_word_errors(
    predictions: pd.DataFrame, references: Sequence[str | None]
) -> tuple[pd.DataFrame, WordErrors]:
    """Compare what a model read with what is said.

    Args:
        predictions: `text`, what was read, null for nothing.
        references: of each row; None where there is none, or it shall not be compared.

    Returns:
        The predictions with a column `word_error_rate`, null where there is no reference or no word in it, and the
        errors of all that were compared.
    """
    texts = predictions["text"].fillna("").tolist()
    pairs = [(said, text) for said, text in zip(references, texts, strict=True) if not pd.isna(said)]
    rates = [
        None if pd.isna(said) else word_errors([said], [text]).rate
        for said, text in zip(references, texts, strict=True)
    ]
    compared = predictions.assign(word_error_rate=np.array(rates, dtype=float))
    return compared, word_errors([said for said, _ in pairs], [text for _, text in pairs])


@dataclass(frozen=True, kw_only=True)
class WordErrorBin:
    """Utterances whose transcripts have about as many word errors.

    Attributes:
        above, up_to: the word error rates that it holds; None for the ends.
        utterances: how many.
        accuracy: how often the answer is right, 0 to 1.
    """

    above: float | None
    up_to: float | None
    utterances: int
    accuracy: float


def accuracy_by_word_errors(predictions: pd.DataFrame) -> list[WordErrorBin]:
    """How often the answer is right, by how many of the words that the model read are wrong.

    Args:
        predictions: `emotion`, `predicted` and `word_error_rate`; rows without an answer or a rate do not count.

    Returns:
        Each bin of `EDGES` that occurs.
    """
    known = predictions.dropna(subset=["predicted", "word_error_rate"])
    bins = np.searchsorted(EDGES, known["word_error_rate"].to_numpy(float), side="left")
    right = (known["predicted"] == known["emotion"]).to_numpy()
    return [
        WordErrorBin(
            above=EDGES[each - 1] if each else None,
            up_to=EDGES[each] if each < len(EDGES) else None,
            utterances=int((bins == each).sum()),
            accuracy=float(right[bins == each].mean()),
        )
        for each in sorted(set(bins.tolist()))
    ]


def bin_name(found: WordErrorBin) -> str:
    """What tables and pictures call a bin of `accuracy_by_word_errors`.

    >>> bin_name(WordErrorBin(above=0.25, up_to=0.5, utterances=4, accuracy=0.5))
    '25-50%'
    """
    if found.above is None:
        return f"{found.up_to:.0%}"
    if found.up_to is None:
        return f"over {found.above:.0%}"
    return f"{100 * found.above:.0f}-{found.up_to:.0%}"


def word_error_table(bins: Sequence[WordErrorBin]) -> Table:
    """A table of what `accuracy_by_word_errors` returned."""
    table = Table(title="Accuracy by word error rate", title_justify="left")
    for heading in ("word error rate", "utterances", "accuracy"):
        table.add_column(heading, justify="right")
    for found in bins:
        table.add_row(bin_name(found), str(found.utterances), f"{found.accuracy:.1%}")
    return table
