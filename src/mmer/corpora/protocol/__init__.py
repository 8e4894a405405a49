"""Who trains, validates and tests: splits, folds, and what they share."""
