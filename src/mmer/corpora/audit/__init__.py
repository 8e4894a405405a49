"""The leakage audit: the overlap of test and training data."""
