"""Start GRODT: `grodt ...` or `python -m grodtd ...`. Standard library only, so that nothing slow is imported early."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its code."""
    from grodtd.entrypoints.cli.main import run

    run()


if __name__ == "__main__":
    main()
