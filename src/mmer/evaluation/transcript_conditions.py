"""Conditions of the text input in evaluation: the transcript, none, or a transcript with word errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from mmer.corpora.corpus import Corpus
from mmer.errors import MMERError
from mmer.runs.seeds import seed_for
from mmer.text.error_rates import WordErrors, word_errors
from mmer.text.transcripts import normalize_transcript

SHARES = {"substitution": 0.6, "deletion": 0.2, "insertion": 0.2}
"""Relative frequency of each kind of word error."""


@dataclass(frozen=True)
class TranscriptCondition:
    """Condition of the transcripts in evaluation.

    Attributes:
        name: `gold` for unchanged transcripts, `none` for no transcripts, `wer:RATE` for word errors.
        rate: probability of an error at each word, 0 to 1; None without word errors.
    """

    name: str
    rate: float | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a condition such as `wer:0.2`.

        Raises:
            MMERError: the text names no condition.
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


def with_condition(
    corpus: Corpus, condition: TranscriptCondition, vocabulary: Sequence[str], seed: int = 0
) -> tuple[Corpus, WordErrors]:
    """Apply a condition to the transcripts of a corpus, and measure their word errors.

    At each word, an error occurs with the condition's rate: a substitution, a deletion or an insertion, in the
    proportions of `SHARES`. The errors of an utterance depend only on the seed and its id. Utterances without a
    transcript keep none.

    Args:
        corpus: the corpus, with correct transcripts.
        condition: the condition.
        vocabulary: words to insert, repeated in proportion to their probability; see `training_words`.
        seed: seed of the errors.

    Raises:
        MMERError: the vocabulary has fewer than two different words.
    """
    truth = corpus.table["transcript"]
    if condition.name == "none":
        made: list[str | None] = [None] * len(truth)
    elif condition.rate is None:
        made = truth.tolist()
    else:
        if condition.rate and len(set(vocabulary)) < 2:
            raise MMERError(
                f"{corpus.source}: word errors need two different words to draw from, and its transcripts have fewer; "
                "fill in transcripts, or leave out word errors"
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
    """Return all word tokens of the training transcripts, or of all transcripts where there is no training split."""
    texts = corpus.table["transcript"]
    trained = texts[corpus.table["split"] == "train"].dropna()
    used = trained if len(trained) else texts.dropna()
    return [word for text in used for word in normalize_transcript(text).split()]


def _degraded(text: str, rate: float, vocabulary: Sequence[str], key: str) -> str:
    random = np.random.default_rng(seed_for(key, size=8))
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
