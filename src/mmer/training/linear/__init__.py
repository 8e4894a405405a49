"""Linear classifiers that are fitted, not trained by steps."""
