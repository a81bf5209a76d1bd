"""What POSIX has and Windows hasn't, where stores in memory work all the same: None and 0 there."""

import os
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
