"""Transcripts: what is compared, and what the CTC head spells."""

import csv
import doctest
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmer.text.ctc_alphabet
import mmer.text.transcripts
from mmer.errors import CorpusError
from mmer.text.ctc_alphabet import WAV2VEC2_ALPHABET, CTCAlphabet
from mmer.text.transcripts import normalize_transcript, strip_annotations


def test_examples() -> None:
    results = [doctest.testmod(module) for module in (mmer.text.transcripts, mmer.text.ctc_alphabet)]
    assert sum(result.attempted for result in results) >= 4
    assert not any(result.failed for result in results)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Well. [LAUGHTER] I know.", "Well. I know."),
        ("[BREATHING]", ""),
        ("(sighs) No [garbage]more\n", "No more"),
        ("a [b] c] (d", "a c] (d"),
        ("", ""),
    ],
)
def test_strip_annotations(text: str, expected: str) -> None:
    assert strip_annotations(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don’t -- [LAUGHTER] STOP!", "don't stop"),
        ("the KL-5 to GR-6 system.", "the kl 5 to gr 6 system"),
        ("Kupiłem nową szafę.", "kupiłem nową szafę"),
        ("ÜBER Straße", "über straße"),
        ("你好\uff0c世界。", "你好 世界"),
        ("আমি ভালো", "আমি ভালো"),  # Bangla vowel signs are marks, not letters
        ("\uff46\uff55\uff4c\uff4c\u3000\uff57idth", "full width"),
        ("rock \u00b4n\u00b4 roll", "rock 'n' roll"),
        ("  \t ", ""),
        # What is not seen divides no word, unless it stands between two.
        ("Zusam\u00admenarbeit", "zusammenarbeit"),
        ("\ufeffyes, cafe\u2060\u0301", "yes café"),
        ("ภาษา\u200bไทย", "ภาษา ไทย"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc \u062e"),
    ],
)
def test_normalize_transcript(text: str, expected: str) -> None:
    assert normalize_transcript(text) == unicodedata.normalize("NFKC", expected)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_ascii_text_keeps_lower_case_letters_digits_and_apostrophes(text: str) -> None:
    expected = re.sub(r"[^a-z0-9']+", " ", re.sub(r"\[[^\[\]]*\]", " ", text).lower()).strip()
    assert normalize_transcript(text) == expected


@given(st.text())
def test_normalized_text_stays_as_it_is(text: str) -> None:
    once = normalize_transcript(text)
    assert normalize_transcript(once) == once


def test_overlap_of_meld_is_the_documented_one(shared: Path) -> None:
    texts: dict[str, list[str]] = {}
    for split in ("train", "dev", "test"):
        with open(
            shared / "corpora" / "meld_text" / f"{split}_sent_emo.csv", encoding="utf-8", newline=""
        ) as file:
            texts[split] = [normalize_transcript(row["Utterance"]) for row in csv.DictReader(file)]
    train, dev = set(texts["train"]), set(texts["dev"])
    assert [len(texts[split]) for split in texts] == [9989, 1109, 2610]
    assert [len(set(texts[split])) for split in texts] == [8658, 1021, 2342]
    assert sum(text in train for text in texts["test"]) == 404
    assert sum(text in train | dev for text in texts["test"]) == 409
    assert sum(text in dev for text in texts["test"]) == 262
    assert sum(text in train for text in texts["dev"]) == 170


class TestCTCAlphabet:
    def test_wav2vec2(self) -> None:
        alphabet = CTCAlphabet(WAV2VEC2_ALPHABET)
        assert len(alphabet) == 32
        assert alphabet.blank == 0
        assert (alphabet.symbols[4], alphabet.symbols[5], alphabet.symbols[27], alphabet.symbols[31]) == (
            *"|E'Z",
        )
        assert alphabet.encode("Don’t  go! [SIGH]") == [14, 8, 9, 27, 6, 4, 21, 8]
        assert alphabet.encode("año <s>") == [7, 8, 4, 12]  # Ñ is not in it, <s> is no symbol of a text
        assert alphabet.encode("...") == alphabet.encode("") == []

    def test_greedy_decoding(self) -> None:
        alphabet = CTCAlphabet(["<pad>", "|", "A", "B"])
        assert alphabet.decode([0, 2, 2, 0, 2, 1, 1, 0, 1, 3, 3, 0]) == "AA B"
        assert alphabet.decode([2, 2, 1, 3], collapse=False) == "AA B"
        assert alphabet.decode([]) == alphabet.decode([0, 0, 1]) == ""
        assert CTCAlphabet(WAV2VEC2_ALPHABET).decode([1, 5, 3, 2]) == "E"

    def test_alphabet_of_a_corpus(self) -> None:
        alphabet = CTCAlphabet.from_transcripts(["Kupiłem szafę.", None, "", "[HUH] it's 2"])
        assert alphabet.symbols == ("<pad>", "|", *"'2AEFIKMPSTUZĘŁ")
        assert alphabet == CTCAlphabet(list(alphabet.symbols))

    def test_no_letters(self) -> None:
        with pytest.raises(CorpusError, match="set ctc_weight to 0"):
            CTCAlphabet.from_transcripts([None, "...", "[LAUGHTER]"])

    @pytest.mark.parametrize("symbols", [["<pad>", "A"], ["<pad>", "|", "A", "A"], ["|", "A"], []])
    def test_wrong_symbols(self, symbols: list[str]) -> None:
        with pytest.raises(CorpusError, match="CTC alphabet"):
            CTCAlphabet(symbols)

    @given(st.text())
    def test_what_is_encoded_is_decoded(self, text: str) -> None:
        expected = " ".join(normalize_transcript(strip_annotations(text)).upper().split())
        if expected:
            alphabet = CTCAlphabet.from_transcripts([text])
            assert alphabet.decode(alphabet.encode(text), collapse=False) == expected
            with_blanks = [symbol for i in alphabet.encode(text) for symbol in (i, i, 0)]
            assert alphabet.decode(with_blanks) == expected
