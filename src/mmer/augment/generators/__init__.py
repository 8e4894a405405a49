"""What makes the words and the sound of views."""
