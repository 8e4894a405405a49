"""The `mmer` command."""
