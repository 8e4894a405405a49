"""Scoring archives of recordings into Parquet."""
