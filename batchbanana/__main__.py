"""`python -m batchbanana` and the installed command; imports as little as it can, so that `--version` is quick."""

import sys


def main() -> None:
    """Run the command line."""
    from batchbanana.cli import main as cli  # noqa: PLC0415 -- the fault of an import must still end in an exit code

    sys.exit(cli())


if __name__ == "__main__":
    main()
