"""`mmer` and `python -m mmer`: the start of the command."""

import signal
import sys


def main() -> None:
    """Run the `mmer` command; neither Ctrl-C while Python imports nor a second one while it ends prints a trace."""
    try:
        from mmer.cli.main import main as run_command

        run_command()
    except KeyboardInterrupt:
        print("mmer: interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
