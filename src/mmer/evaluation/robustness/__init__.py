"""Robustness of a model to degraded recordings and transcripts."""
