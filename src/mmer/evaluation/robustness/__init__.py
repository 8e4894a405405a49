"""Judging a model on worse recordings and transcripts."""
