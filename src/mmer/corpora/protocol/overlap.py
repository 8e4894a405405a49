"""Equal and similar transcripts on both sides of a split."""

from collections.abc import Callable, Iterable, Sequence
from difflib import SequenceMatcher
from itertools import chain
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmer.errors import CorpusError

_BITS = 1024  # bits of a signature
_TOGETHER = 64  # texts whose candidates are found at a time, unless these are too many:
_MOST_PAIRS = 1 << 19  # of a text and a candidate, whose signatures take 128 MB
Token: TypeAlias = str | tuple[str, int]
"""A word of a text; where the text has it again, the word and how often the text has had it before."""


def similarity(text: str, other: str) -> float:
    """Compute the word-level similarity of two transcripts: 2 M / T by `difflib.SequenceMatcher` (autojunk off).

    M is the number of words in the matching blocks and T that of all words of both; 1 is the same text.
    `text` is the one searched for, difflib's second sequence: the greedy search for blocks is not symmetric.

    >>> similarity("i do not know", "i really do not know")
    0.8888888888888888
    """
    return SequenceMatcher(None, other.split(), text.split(), autojunk=False).ratio()


def near_duplicates(test: Sequence[str], train: Sequence[str], threshold: float) -> NDArray[np.bool_]:
    """Find the test transcripts that equal a training transcript or are similar to one.

    Args:
        test, train: transcripts as `normalize_transcript` writes them.
        threshold: smallest `similarity` of near duplicates, above 0 and at most 1.

    Returns:
        (test transcripts,) bool, true where some training transcript is at least that similar.

    Raises:
        CorpusError: the threshold is out of range.
    """
    same = dict.fromkeys(train)
    found = {text: text in same for text in test}
    others = [text for text, is_same in found.items() if not is_same]
    found.update(zip(others, TranscriptIndex(same, threshold).similar(others), strict=True))
    return np.array([found[text] for text in test], dtype=bool)


class TranscriptIndex:
    """Index of transcripts that finds similar ones without comparing all pairs.

    Each occurrence of a word in a text is a token, so that a repeated word gives several. M cannot exceed the number of
    tokens that two texts share. From `similarity` = 2 M / (a + b) >= t for texts of a and b tokens follows

    - that they share at least t a / (2 - t) tokens. The a - t a / (2 - t) + 1 rarest tokens of both, their *prefixes*,
      then have one in common (prefix filtering), and rare words are in few texts.
    - that at most (1 - t) (a + b) tokens are in one of them alone. Each token toggles one bit of its text's signature,
      so that two signatures differ in at most so many bits.

    Only the texts within these bounds are passed to difflib, so the result equals that of comparing all pairs.

    Args:
        texts: normalized transcripts; duplicates are merged.
        threshold: smallest `similarity` of near duplicates, above 0 and at most 1.

    Raises:
        CorpusError: the threshold is out of range.
    """

    def __init__(self, texts: Iterable[str], threshold: float) -> None:
        if not 0 < threshold <= 1:
            raise CorpusError(
                f"similarity {threshold:g} of near duplicates: allowed is above 0 and at most 1"
            )
        self._threshold = threshold
        self._texts = list(dict.fromkeys(texts))
        self._ids: dict[Token, int] = {}
        rows = [
            [self._ids.setdefault(token, len(self._ids)) for token in _tokens(text.split())]
            for text in self._texts
        ]
        tokens, of_text, self._lengths = _flat(rows)
        self._counts = np.bincount(tokens, minlength=len(self._ids))
        self._signatures = _signatures(tokens, of_text, len(rows))
        tokens, of_text = self._prefixes(tokens, of_text, self._lengths, np.zeros_like(self._lengths))
        by_token = np.argsort(tokens, kind="stable")
        self._holders = of_text[by_token]
        self._begins = np.searchsorted(tokens[by_token], np.arange(len(self._ids) + 1))

    def similar(
        self, texts: Sequence[str], counts: Callable[[str, str], bool] = lambda text, other: True
    ) -> list[bool]:
        """Tell for each text whether one of those of the index is at least as similar to it as the threshold.

        Args:
            texts: normalized transcripts.
            counts: tells whether, for a text, another of the index is considered; default: all.
        """
        found = list[bool]()
        for begin in range(0, len(texts), _TOGETHER):
            chunk = texts[begin : begin + _TOGETHER]
            for text, rows in zip(chunk, self._candidates([text.split() for text in chunk]), strict=True):
                others = [self._texts[row] for row in rows.tolist()]
                found.append(self._has_similar(text, [other for other in others if counts(text, other)]))
        return found

    def _has_similar(self, text: str, others: Sequence[str]) -> bool:
        matcher = SequenceMatcher(None, (), text.split(), autojunk=False)
        for other in others:
            matcher.set_seq1(other.split())
            if matcher.quick_ratio() >= self._threshold and matcher.ratio() >= self._threshold:
                return True
        return False

    def _candidates(self, texts: Sequence[list[str]]) -> list[NDArray[np.int64]]:
        """Find the rows within the bounds on similarity to each text, given as its words."""
        known = [[self._ids[token] for token in _tokens(words) if token in self._ids] for words in texts]
        tokens, of_text, known_lengths = _flat(known)
        signatures = _signatures(tokens, of_text, len(texts))
        lengths = np.array([len(words) for words in texts], np.int64)
        # Tokens that no text of the index has are the rarest.
        tokens, of_text = self._prefixes(tokens, of_text, lengths, lengths - known_lengths)
        sizes = self._begins[tokens + 1] - self._begins[tokens]
        if sizes.sum() > _MOST_PAIRS and len(texts) > 1:
            half = len(texts) // 2
            return self._candidates(texts[:half]) + self._candidates(texts[half:])
        before = np.cumsum(sizes) - sizes
        rows = self._holders[np.repeat(self._begins[tokens] - before, sizes) + np.arange(sizes.sum())]
        of_text = np.repeat(of_text, sizes)
        own, other = lengths[of_text], self._lengths[rows]
        fits = 2.0 * np.minimum(own, other) >= self._threshold * (own + other) - 1e-9
        rows, of_text, total = rows[fits], of_text[fits], (own + other)[fits]
        apart = np.bitwise_count(self._signatures[rows] ^ signatures[of_text]).sum(axis=1)
        near = apart <= (1 - self._threshold) * total + 1e-9
        pairs = np.unique(np.stack([of_text[near], rows[near]]), axis=1)
        return np.split(pairs[1], np.searchsorted(pairs[0], np.arange(1, len(texts))))

    def _prefixes(
        self,
        tokens: NDArray[np.int64],
        of_text: NDArray[np.int64],
        lengths: NDArray[np.int64],
        unknown: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Keep the tokens in the prefixes of texts.

        Args:
            tokens, of_text: (tokens,) ids, and the text that has each, from 0.
            lengths: (texts,) tokens of each text.
            unknown: (texts,) how many of them have no id.

        Returns:
            The kept `tokens` and `of_text`.
        """
        order = np.lexsort((tokens, self._counts[tokens], of_text))
        tokens, of_text = tokens[order], of_text[order]
        shared = np.maximum(np.ceil(self._threshold * lengths / (2 - self._threshold) - 1e-9), 1)
        begins = np.searchsorted(of_text, np.arange(len(lengths)))
        kept = np.arange(len(tokens)) - begins[of_text] < (lengths - shared + 1 - unknown)[of_text]
        return tokens[kept], of_text[kept]


def _tokens(words: Sequence[str]) -> Sequence[Token]:
    """Tell the occurrences of a word in a text apart."""
    if len(set(words)) == len(words):
        return words
    seen: dict[str, int] = {}
    tokens: list[Token] = []
    for word in words:
        before = seen.get(word, 0)
        tokens.append((word, before) if before else word)
        seen[word] = before + 1
    return tokens


def _flat(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Join rows of tokens; return the tokens, the row of each, and the length of each row."""
    lengths = np.array([len(row) for row in rows], np.int64)
    tokens = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
    return tokens, np.repeat(np.arange(len(rows)), lengths), lengths


def _signatures(tokens: NDArray[np.int64], of_text: NDArray[np.int64], texts: int) -> NDArray[np.uint64]:
    """Compute the signatures of texts, (texts, words of 64 bits): the bits that their tokens toggle."""
    signatures = np.zeros((texts, _BITS // 64), np.uint64)
    bits = np.left_shift(np.uint64(1), (tokens % 64).astype(np.uint64))
    np.bitwise_xor.at(signatures, (of_text, tokens % _BITS // 64), bits)
    return signatures
