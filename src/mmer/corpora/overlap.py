"""Equal and similar transcripts on both sides of a split."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from mmer.errors import CorpusError

_BITS = 1024  # bits of a signature


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
    index = TranscriptIndex(same, threshold)
    found = {text: text in same or index.holds_similar(text) for text in dict.fromkeys(test)}
    return np.array([found[text] for text in test], dtype=bool)


class TranscriptIndex:
    """Index of transcripts that finds similar ones without comparing all pairs word by word.

    M cannot exceed the number of words two texts share, repetitions counted, so `similarity` is at most (a + b - d) /
    (a + b) for texts of a and b words that differ in d words. Every word toggles one bit of its text's signature, so
    that two signatures, also when folded to 64 bits, differ in at most d bits. Only the texts within these bounds are
    passed to difflib, so the result equals that of comparing all pairs.

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
        self._texts = sorted(dict.fromkeys(texts), key=lambda text: len(text.split()))
        self._words = [text.split() for text in self._texts]
        self._bits: dict[str, int] = {}
        signatures = [self._signature(words) for words in self._words]
        self._signatures = np.array(signatures, dtype=np.uint64).reshape(-1, _BITS // 64)
        self._folded = np.bitwise_xor.reduce(self._signatures, axis=1)
        lengths = [len(words) for words in self._words]
        groups = zip(*np.unique(lengths, return_index=True, return_counts=True), strict=True)
        self._rows = [(int(length), slice(first, first + count)) for length, first, count in groups]

    def holds_similar(self, text: str, counts: Callable[[str], bool] = lambda other: True) -> bool:
        """Tell whether one of the texts is at least as similar to this one as the threshold.

        Args:
            text: normalized transcript.
            counts: tells whether a text of the index is considered; default: all.
        """
        words = text.split()
        matcher = SequenceMatcher(None, (), words, autojunk=False)
        for row in self._candidates(words):
            if not counts(self._texts[row]):
                continue
            matcher.set_seq1(self._words[row])
            if matcher.quick_ratio() >= self._threshold and matcher.ratio() >= self._threshold:
                return True
        return False

    def _candidates(self, words: list[str]) -> Iterator[int]:
        """Return the rows within the bounds on similarity to a text."""
        signature = self._signature(words)
        folded = np.bitwise_xor.reduce(signature)
        for length, rows in self._rows:
            total = max(len(words) + length, 1)
            if 2.0 * min(len(words), length) / total < self._threshold:
                continue
            differing = int((1 - self._threshold) * total + 1e-9)
            near = np.flatnonzero(np.bitwise_count(self._folded[rows] ^ folded) <= differing) + rows.start
            if len(near):
                apart = np.bitwise_count(self._signatures[near] ^ signature).sum(axis=1)
                yield from near[apart <= differing].tolist()

    def _signature(self, words: list[str]) -> NDArray[np.uint64]:
        """Return the signature: the bits toggled by the words."""
        signature = 0
        for word in words:
            # Bits are assigned in the order of first occurrence, so that the most frequent words have different ones.
            signature ^= 1 << self._bits.setdefault(word, len(self._bits) % _BITS)
        return np.frombuffer(signature.to_bytes(_BITS // 8, "little"), dtype="<u8")
