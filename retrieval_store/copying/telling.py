"""Saying what a copy does besides copying: to the caller, and in the log."""

from collections.abc import Callable
from typing import TypeAlias

from retrieval_store.base.tracing import log_of

Tell: TypeAlias = Callable[[str], object]
_log = log_of("store")


def telling(on_change: Tell | None) -> Tell:
    """A function that says a line."""

    def tell(line: str) -> None:
        _log.info("copying: %s", line)
        if on_change is not None:
            on_change(line)

    return tell
