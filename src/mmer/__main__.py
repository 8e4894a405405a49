"""`python -m mmer` is the `mmer` command."""

from mmer.cli import main

main()
