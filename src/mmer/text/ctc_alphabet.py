"""The alphabet of the CTC head: the symbols it chooses from, and which of them a transcript is spelled with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from mmer.errors import CorpusError
from mmer.text.transcripts import normalize_transcript, strip_annotations

WAV2VEC2_ALPHABET: tuple[str, ...] = (
    *("<pad>", "<s>", "</s>", "<unk>", "|"),
    *"ETAONIHSRDLUMWCFGYPBVK'XJQZ",
)
"""The 32 symbols of the tokenizer of `facebook/wav2vec2-base-960h`, in the order of their ids."""


@dataclass(frozen=True, slots=True)
class CTCAlphabet:
    """Alphabet of a CTC head, which outputs one symbol per frame.

    Symbols longer than one character are control symbols: they are never encoded and decode to nothing.

    Attributes:
        symbols: index = id; the first is the blank and one is `|`, the boundary between words.
    """

    symbols: tuple[str, ...]
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __init__(self, symbols: Sequence[str]) -> None:
        object.__setattr__(self, "symbols", tuple(symbols))
        object.__setattr__(self, "_ids", {s: i for i, s in enumerate(self.symbols) if i and len(s) == 1})
        if len(set(self.symbols)) != len(self.symbols):
            raise CorpusError(f"a CTC alphabet holds each symbol once; found {' '.join(self.symbols)}")
        if "|" not in self._ids:
            raise CorpusError("a CTC alphabet needs the symbol '|' between words, after the blank at index 0")

    @classmethod
    def from_transcripts(cls, transcripts: Iterable[str | None]) -> Self:
        """Make the alphabet of a corpus: blank, `|`, and the characters of its transcripts in sorted order.

        Raises:
            CorpusError: no transcript holds a letter, a digit or an apostrophe.
        """
        characters = {c for text in transcripts if text for c in _spoken(text)} - {" "}
        if not characters:
            raise CorpusError("no transcript holds a letter, so CTC has no alphabet; set ctc_weight to 0")
        return cls(("<pad>", "|", *sorted(characters)))

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def blank(self) -> int:
        """Id of the blank, 0."""
        return 0

    def encode(self, text: str) -> list[int]:
        """Return the ids of the upper-cased text without annotations and punctuation; drop unknown characters.

        >>> CTCAlphabet(WAV2VEC2_ALPHABET).encode("Oh, no!")
        [8, 11, 4, 9, 8]
        """
        known = "".join(c for c in _spoken(text) if c == " " or c in self._ids)
        return [self._ids[c] for c in "|".join(known.split())]

    def decode(self, ids: Iterable[int], *, collapse: bool = True) -> str:
        """Return the text of a sequence of ids; with `collapse`, of the best symbol of each frame (repeats merged).

        >>> CTCAlphabet(WAV2VEC2_ALPHABET).decode([8, 8, 0, 11, 4, 4, 9, 0, 8])
        'OH NO'
        """
        ids = list(ids)
        if collapse:
            ids = [i for n, i in enumerate(ids) if n == 0 or i != ids[n - 1]]
        said = "".join(self.symbols[i] for i in ids if i != self.blank and len(self.symbols[i]) == 1)
        return " ".join(said.replace("|", " ").split())


def _spoken(text: str) -> str:
    """Return the upper-cased normalized words of a transcript without its annotations."""
    return normalize_transcript(strip_annotations(text)).upper()
