"""Reading and writing files: complete or not at all, one process at a time, regular files alone."""
