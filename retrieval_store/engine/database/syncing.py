"""Names of files made durable. Of vectors see `storage.vectors`; rows are SQLite's (`opening`)."""

import os
from pathlib import Path


def sync_directory(path: Path) -> None:
    """Make the names in the directory durable; only then is a new file there after a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
