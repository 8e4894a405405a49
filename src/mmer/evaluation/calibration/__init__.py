"""Fitting and judging calibrated probabilities."""
