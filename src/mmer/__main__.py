"""`python -m mmer` is the `mmer` command."""

from mmer.cli import main

if __name__ == "__main__":
    main()
