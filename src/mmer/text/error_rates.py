"""Word and character error rates of transcripts, and accuracy by word error rate."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from rapidfuzz.distance import Levenshtein

from mmer.display.terminal import Table
from mmer.text.transcripts import normalize_transcript

EDGES = (0.0, 0.25, 0.5, 1.0)
"""Upper ends of the bins of word error rate; the first bin is exactly 0, and a last bin holds higher rates."""


@dataclass(frozen=True)
class WordErrors:
    """Error counts of normalized transcripts against references.

    Attributes:
        substitutions, deletions, insertions: word errors in the alignments with the fewest errors.
        words: number of words in the references.
        character_errors: substitutions, deletions and insertions of characters, blanks between words included.
        characters: number of characters in the references, likewise.
        transcripts: number of compared transcripts.
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
        """Return the word error rate: word errors per word of the references; None without words."""
        errors = self.substitutions + self.deletions + self.insertions
        return errors / self.words if self.words else None

    @property
    def character_rate(self) -> float | None:
        """Return the character error rate: errors per character of the references; None without characters."""
        return self.character_errors / self.characters if self.characters else None

    def to_dict(self) -> dict[str, int | float | None]:
        """Return the fields, `word_error_rate` and `character_error_rate`."""
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
    """Compare the transcripts that a model read with references.

    Args:
        predictions: column `text`, the transcript read, None for none.
        references: reference of each row; None to leave the row out.

    Returns:
        The predictions with a column `word_error_rate`, missing without a reference or words in it, and the error
        counts of all compared rows.
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
    """Bin of utterances with similar word error rates.

    Attributes:
        above, up_to: range of word error rates; None for an open end.
        utterances: number of utterances.
        accuracy: accuracy of the answers, 0 to 1.
    """

    above: float | None
    up_to: float | None
    utterances: int
    accuracy: float


def accuracy_by_word_errors(predictions: pd.DataFrame) -> list[WordErrorBin]:
    """Compute the accuracy in each bin of word error rate.

    Args:
        predictions: `emotion`, `predicted` and `word_error_rate`; rows without an answer or a rate are skipped.

    Returns:
        The non-empty bins of `EDGES`.
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
    """Return the name of a bin in tables and plots.

    >>> bin_name(WordErrorBin(above=0.25, up_to=0.5, utterances=4, accuracy=0.5))
    '25-50%'
    """
    if found.above is None:
        return f"{found.up_to:.0%}"
    if found.up_to is None:
        return f"over {found.above:.0%}"
    return f"{100 * found.above:.0f}-{found.up_to:.0%}"


def word_error_table(bins: Sequence[WordErrorBin]) -> Table:
    """Return a table of the bins of `accuracy_by_word_errors`."""
    table = Table(title="Accuracy by word error rate", title_justify="left")
    for heading in ("word error rate", "utterances", "accuracy"):
        table.add_column(heading, justify="right")
    for found in bins:
        table.add_row(bin_name(found), str(found.utterances), f"{found.accuracy:.1%}")
    return table
