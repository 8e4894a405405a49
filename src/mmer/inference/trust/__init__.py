"""What a probability is worth: calibration, abstention, sets of labels, unlike training."""
