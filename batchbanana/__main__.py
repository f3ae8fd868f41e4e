"""`python -m batchbanana` and the installed command; imports as little as it can, so that `--version` is quick."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from batchbanana.cli import main as cli

        sys.exit(cli())
    except KeyboardInterrupt:  # pressed while modules are still being imported
        sys.exit(130)


if __name__ == "__main__":
    main()
