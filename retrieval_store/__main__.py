"""`python -m retrieval_store`, and the program `retrieval-store`."""

import sys


def main() -> int:
    """Run the command line. If its packages aren't installed, print which packages it needs.
    Returns the exit status."""
    try:
        import click  # noqa: F401
    except ImportError:
        sys.stderr.write(
            'the command line needs click and rich: pip install "retrieval-store[standard]"\n'
        )
        return 1
    from retrieval_store.cli.main import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
