"""Constants, and functions that ask the operating system about a server's process."""

from typing import Any

resource: Any
try:
    import resource
except ImportError:  # on Windows
    resource = None

INT_MIN, INT_MAX = -(2**63), 2**64 - 1  # of integers in payloads
IN_MEMORY = ":memory:"  # instead of a path
