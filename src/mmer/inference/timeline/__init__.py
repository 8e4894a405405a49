"""Emotions along a recording of any length."""
