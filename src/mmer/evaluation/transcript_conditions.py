"""What a model is given to read when it is tested: the transcript, nothing, or a transcript with word errors."""

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
"""How often each kind of word error is made."""


@dataclass(frozen=True)
class TranscriptCondition:
    """A transcript condition.

    Attributes:
        name: `gold`, transcripts as they are; `none`, no transcripts; `wer:RATE`, with word errors.
        rate: probability of an error at each word, 0 to 1; None unless there are word errors.
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


def with_condition(
    corpus: Corpus, condition: TranscriptCondition, vocabulary: Sequence[str], seed: int = 0
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
