"""What POSIX has and Windows hasn't, where stores in memory work all the same: None and 0 there.
And how files, and their names, are made durable."""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

fcntl: Any
resource: Any
try:
    import fcntl
    import resource
except ImportError:
    fcntl = resource = None

NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
DIRECTORY: int = getattr(os, "O_DIRECTORY", 0)
CLOSE_ON_EXEC: int = getattr(os, "O_CLOEXEC", 0)
NO_WAITING: int = getattr(os, "O_NONBLOCK", 0)
NO_TERMINAL: int = getattr(os, "O_NOCTTY", 0)
IS_THERE = isinstance(fcntl, ModuleType)


def memory_bytes(otherwise: int) -> int:
    """How much memory the machine has, or what is said otherwise where it can't be told."""
    try:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return otherwise


def sync_directory(path: Path) -> None:
    """Make the names in the directory durable; only then is a new file there after a power cut."""
    _sync(path)


def sync_file(path: Path) -> None:
    """Make what is in a file durable, whichever process has written it."""
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
