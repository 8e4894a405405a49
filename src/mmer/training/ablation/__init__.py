"""The ablation: rows, study, results and report."""
