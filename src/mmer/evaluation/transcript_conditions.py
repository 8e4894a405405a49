"""What a model is given to read when it is tested: the transcript, nothing, or a transcript with word errors."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from mmer.corpora.corpus import Corpus
from mmer.errors import MMERError
from mmer.text import normalize_transcript

SHARES = {"substitution": 0.6, "deletion": 0.2, "insertion": 0.2}
"""How often each kind of word error is made."""


@dataclass(frozen=True)
class Condition:
    """A transcript condition.

    Attributes:
        name: `gold`, transcripts as they are; `none`, no transcripts; `wer:RATE`, with word errors.
        rate: probability of an error at each word, 0 to 1; null unless there are word errors.
    """

    name: str
    rate: float | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a user wrote, such as `wer:0.2`.

        Raises:
            MMERError: it is no condition.
        """
        kind, colon, number = text.partition(":")
        if not colon and kind in ("gold", "none"):
            return cls(kind)
        try:
            rate = float(number) if kind == "wer" else -1.0
        except ValueError:
            rate = -1.0
        if not 0 <= rate <= 1:
            allowed = "gold, none, or wer: with a rate from 0 to 1, as in wer:0.2"
            raise MMERError(f"no transcript condition {text!r}; it must be {allowed}")
        return cls(f"wer:{rate:g}", rate)


@dataclass(frozen=True)
class WordErrors:
    """How far transcripts are from those they were made of; compared as `normalize_transcript` leaves them.

    Attributes:
        substitutions, deletions, insertions: errors of the alignments with the fewest.
        words: of the transcripts before.
        transcripts: how many were compared.
    """

    substitutions: int
    deletions: int
    insertions: int
    words: int
    transcripts: int

    @property
    def rate(self) -> float | None:
        """Errors for each word before, the word error rate; null where there are no words."""
        errors = self.substitutions + self.deletions + self.insertions
        return errors / self.words if self.words else None

    def to_dict(self) -> dict[str, Any]:
        """The fields, and `word_error_rate`."""
        return {**asdict(self), "word_error_rate": self.rate}


def with_condition(
    corpus: Corpus, condition: Condition, vocabulary: Sequence[str], seed: int = 0
) -> tuple[Corpus, WordErrors]:
    """A corpus with the transcripts of a condition, and how far they are from its own.

    Each word is wrong with the condition's rate: replaced by another one, left out, or followed by one more, as often
    as `SHARES` says. What happens to an utterance depends on the seed and its id alone. An utterance without a
    transcript stays without.

    Args:
        corpus: its transcripts are the true ones.
        condition: what to make of them.
        vocabulary: words to put in, each as often as it shall be drawn; see `training_words`.
        seed: of the errors.

    Raises:
        MMERError: there are no two different words to draw from.
    """
    truth = corpus.table["transcript"]
    if condition.name == "none":
        made: list[str | None] = [None] * len(truth)
    elif condition.rate is None:
        made = truth.tolist()
    else:
        if condition.rate and len(set(vocabulary)) < 2:
            raise MMERError(
                "word errors need two different words to draw from; the training transcripts have none"
            )
        rows = zip(corpus.table["utterance_id"], truth, strict=True)
        made = [
            None if text is None else _degraded(text, condition.rate, vocabulary, f"{seed} {name}")
            for name, text in rows
        ]
    changed = Corpus(
        corpus.table.assign(transcript=np.array(made, dtype=object)), source=corpus.source, notes=corpus.notes
    )
    pairs = [(before, after or "") for before, after in zip(truth, made, strict=True) if before is not None]
    return changed, word_errors([before for before, _ in pairs], [after for _, after in pairs])


def training_words(corpus: Corpus) -> list[str]:
    """Every word of the training transcripts, as often as it occurs; of all transcripts where none trains."""
    texts = corpus.table["transcript"]
    trained = texts[corpus.table["split"] == "train"].dropna()
    used = trained if len(trained) else texts.dropna()
    return [word for text in used for word in normalize_transcript(text).split()]


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> WordErrors:
    """Count the word errors of transcripts.

    >>> word_errors(["I never said that!"], ["i never said so to you"]).rate
    0.75
    """
    counts, words = np.zeros(3, dtype=int), 0
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        said, written = normalize_transcript(reference).split(), normalize_transcript(hypothesis).split()
        counts += _alignment(said, written)
        words += len(said)
    substitutions, deletions, insertions = counts.tolist()
    return WordErrors(substitutions, deletions, insertions, words, len(references))


def _degraded(text: str, rate: float, vocabulary: Sequence[str], key: str) -> str:
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    random = np.random.default_rng(int.from_bytes(digest))
    words = []
    for word in text.split():
        if random.random() >= rate:
            words.append(word)
            continue
        kind = random.choice(list(SHARES), p=list(SHARES.values()))
        if kind == "substitution":
            words.append(_other_word(word, vocabulary, random))
        elif kind == "insertion":
            words += [word, _other_word(word, vocabulary, random)]
    return " ".join(words)


def _other_word(word: str, vocabulary: Sequence[str], random: np.random.Generator) -> str:
    plain = normalize_transcript(word)
    while (other := vocabulary[int(random.integers(len(vocabulary)))]) == plain:
        pass
    return other


def _alignment(said: Sequence[str], written: Sequence[str]) -> tuple[int, int, int]:
    """Substitutions, deletions and insertions of an alignment with the fewest errors (Levenshtein)."""
    row = [(i, 0, 0, i) for i in range(len(written) + 1)]  # errors, substitutions, deletions, insertions
    for i, word in enumerate(said, start=1):
        above, row = row, [(i, 0, i, 0)]
        for j, other in enumerate(written, start=1):
            total, subs, dels, ins = above[j - 1]
            wrong = word != other
            errors, removed, added = (total + wrong, subs + wrong, dels, ins), above[j], row[j - 1]
            row.append(
                min(
                    errors,
                    (removed[0] + 1, removed[1], removed[2] + 1, removed[3]),
                    (added[0] + 1, added[1], added[2], added[3] + 1),
                    key=lambda cell: cell[0],
                )
            )
    return row[-1][1:]
