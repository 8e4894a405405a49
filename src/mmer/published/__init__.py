"""Emotion models that others have published, read as they are: their networks, their sound and their labels."""
