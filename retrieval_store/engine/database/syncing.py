"""Whole files and names of files made durable. Of vectors see `storage.vectors`; rows are SQLite's
(`opening`)."""

import os
from pathlib import Path


def sync_directory(path: Path) -> None:
    """Make the names in the directory durable; only then is a new file there after a power cut."""
    _sync(path)


def sync_file(path: Path) -> None:
    """Make what is in a file durable, whoever has written it."""
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
