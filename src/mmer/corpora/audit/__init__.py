"""The leakage audit: how much of what a fold tests is in its training too."""
