"""One reader for each released corpus."""
