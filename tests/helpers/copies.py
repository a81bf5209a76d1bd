"""Copies of stores that travel in pages, and break off."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers import steps
from tests.helpers.tuned import tuned


def by_points(patch: pytest.MonkeyPatch | None = None, page: int | None = None) -> None:
    """Copy points in pages, of so many, also where files could be copied: until `patch` is undone, or
    for good in a process of its own."""
    steps.replace(patch or pytest.MonkeyPatch(), "copies_by_files", property(lambda copying: False))
    if page is not None:
        tuned(patch, copied_pages=page)


def broken_off(patch: pytest.MonkeyPatch, after: int) -> None:
    """Copies break off when so many pages have been written."""
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
