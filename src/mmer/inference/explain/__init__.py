"""Explanations of a model's answers."""
