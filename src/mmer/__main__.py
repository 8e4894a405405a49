"""`python -m mmer` is the `mmer` command."""

from mmer.cli.main import main

if __name__ == "__main__":
    main()
