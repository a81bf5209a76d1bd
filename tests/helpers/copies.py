"""Copies of stores in pages, and interrupted copies."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers import steps
from tests.helpers.tuned import tuned


def by_points(patch: pytest.MonkeyPatch | None = None, page: int | None = None) -> None:
    """Copy points in pages of this size, even if files could be copied. Without `patch` the change
    is permanent, for a process of its own."""
    steps.replace(patch or pytest.MonkeyPatch(), "copies_by_files", property(lambda copying: False))
    if page is not None:
        tuned(patch, copied_pages=page)


def broken_off(patch: pytest.MonkeyPatch, after: int) -> None:
    """Interrupt copies after this many pages."""
    left = [None] * after

    def breaking(write: Callable[..., Any], target: Any, found: Iterator[Any]) -> Iterator[Any]:
        some = [*itertools.islice(found, len(left))]
        for number in write(target, iter(some)):
            left.pop()
            yield number
        if next(found, None) is not None:
            raise KeyboardInterrupt

    def at_the_end() -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()

    steps.before(patch, "append_to_copy", at_the_end)
    for way in ("write_to_copy", "append_each_to_copy"):
        steps.around(patch, way, breaking)
    tuned(patch, copied_pages=40)
