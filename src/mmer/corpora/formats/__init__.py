"""Corpora in the formats of other tools."""
