"""Transcripts: normalization, the alphabet of the CTC head, word errors, and normalization of names."""

from mmer.text.ctc_alphabet import CTCAlphabet
from mmer.text.transcripts import normalize_transcript, strip_annotations

__all__ = ["CTCAlphabet", "normalize_transcript", "strip_annotations"]
