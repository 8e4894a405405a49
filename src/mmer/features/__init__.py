"""What a network reads, computed of sound and words."""
