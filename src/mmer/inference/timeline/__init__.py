"""Timelines of emotions in recordings of any length."""
