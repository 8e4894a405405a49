"""Reading and writing of files: atomic writes, locks, checks of regular files."""
