"""What POSIX has and Windows hasn't, where stores in memory work all the same: None and 0 there.
And how files, and their names, are made durable, and whether one that is mapped is still whole."""

import mmap
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


def is_whole(memory: mmap.mmap) -> bool:
    """Whether a file that is mapped is as long as it was: to read a map behind its end kills the
    process."""
    return memory.size() >= len(memory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
