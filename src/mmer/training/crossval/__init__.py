"""Cross-validation: runs and baselines over folds."""
