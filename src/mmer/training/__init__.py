"""Training: one run, cross-validation, baselines over folds, ablation."""
