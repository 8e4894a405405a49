"""What commands that write a folder share: typed result files, resuming, journals, seeds."""
