"""Training: one run; its data, cross-validation, ablation and adaptation in folders."""
