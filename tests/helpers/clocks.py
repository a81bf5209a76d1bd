"""Clocks of the package that tests can set."""

from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import pytest

CLOCKS = {  # what looks at the clock: where its module `time` is
    "counting": "retrieval_store.engine.filtering.select.time",
    "links on a cluster": "retrieval_store_cluster.links.time",
    "pages of a cluster": "retrieval_store_cluster.store.time",
    "recall on a cluster": "retrieval_store_cluster.recall.time",
    "retries on a cluster": "retrieval_store_cluster.client.time",
    "turns": "retrieval_store.engine.locks.time",
    "rates of requests": "retrieval_store_server.http.rates.time",
    "versions on a cluster": "retrieval_store_cluster.payload.time",
}


class Ticking:
    """Each call returns a second more than the last."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now


class Standing:
    """Returns the same number of nanoseconds at every call."""

    def __init__(self, nanoseconds: int) -> None:
        self.nanoseconds = nanoseconds

    def time_ns(self) -> int:
        return self.nanoseconds


def set_clock(patch: pytest.MonkeyPatch, whose: str, clock: Any) -> None:
    """Replace the module `time` by `clock` for one module of the table above."""
    place, _, name = CLOCKS[whose].rpartition(".")
    patch.setattr(resolve_name(place), name, clock)


def noted_pauses(patch: pytest.MonkeyPatch, whose: str) -> list[float]:
    """The pauses requested from now on, in seconds; none is made."""
    pauses: list[float] = []
    set_clock(patch, whose, SimpleNamespace(sleep=pauses.append))
    return pauses
