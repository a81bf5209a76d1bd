"""Small checks of values, and what of the system a server asks: nothing here knows of stores."""

import os
import re
from collections.abc import Hashable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

resource: Any
try:
    import resource
except ImportError:  # on Windows
    resource = None

INT_MIN, INT_MAX = -(2**63), 2**64 - 1  # of integers in payloads
IN_MEMORY = ":memory:"  # in the place of a path
Item = TypeVar("Item", bound=Hashable)
_PARTS = "-".join(f"[0-9a-f]{{{length}}}" for length in (8, 4, 4, 4, 12))
_UUID = rf"([0-9a-f]{{32}})|(?-i:urn:uuid:)?({_PARTS})|\{{({_PARTS})\}}"


def uuid_in(text: str) -> str | None:
    """The UUID in its usual form; None for a text that isn't a UUID."""
    match = re.fullmatch(_UUID, text, re.IGNORECASE | re.ASCII)
    return None if match is None else str(UUID(match[1] or match[2] or match[3]))


def is_unicode(text: str) -> bool:
    """Whether a string can be stored: Python's strings may hold lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def cut_text(text: str, most: int) -> str:
    """A text of at most so many characters; what is left out is marked."""
    return text if len(text) <= most else f"{text[:most]}…"


def find_repeated(items: Iterable[Item]) -> list[Item]:
    """The items that occur more than once, each once, in the order of their second occurrence."""
    seen: set[Item] = set()
    again: dict[Item, None] = {}
    for item in items:
        if item in seen:
            again[item] = None
        seen.add(item)
    return list(again)


def host_in_url(host: str) -> str:
    """A host as a URL has it: an IPv6 address in brackets."""
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host


def memory_bytes(otherwise: int) -> int:
    """Bytes of memory of the machine, or of the container; the default where they can't be read."""
    try:
        memory = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        memory = otherwise
    with suppress(OSError, ValueError):  # there may be no such file, or no limit in it
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return memory


def usable_cores() -> int:
    """How many processors this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def give_back_memory() -> None:
    """Give the system back what was freed, where the C library keeps it for later, as glibc does
    between what is still in use."""
    with suppress(OSError, AttributeError, ImportError):
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
