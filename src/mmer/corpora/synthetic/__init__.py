"""Corpora with known answers, which eSpeak speaks."""
