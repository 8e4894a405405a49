"""What a run learns from: its utterances, their splits, features and batches."""
