"""Speech and text encoders, pretrained or from scratch."""
