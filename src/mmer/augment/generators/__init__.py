"""Generators of the words and the sound of views."""
