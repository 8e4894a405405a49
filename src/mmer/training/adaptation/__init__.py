"""Adaptation of trained and of published models to a corpus."""
