"""The table of steps. A step is a function of a `Scenario`; its decorator is its row."""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from tests.rehearsal.places import COLLECTIONS
from tests.rehearsal.scenario import LENGTHS, Scenario


@dataclass(frozen=True)
class Step:
    """needs: the required features of the shape; places: the possible stores; least: the shortest
    rehearsal with this step; slow: why one of its calls may take far longer than others; holds: why
    more resources may be in use afterwards."""

    name: str
    run: Callable[[Scenario], None]
    needs: frozenset[str]
    places: frozenset[str]
    least: str
    slow: str | None
    holds: str | None

    def fits(self, kinds: frozenset[str], place: str, length: str) -> bool:
        long_enough = LENGTHS.index(length) >= LENGTHS.index(self.least)
        return long_enough and place in self.places and self.needs <= kinds


STEPS: list[Step] = []


def step(
    *needs: str,
    places: frozenset[str] = COLLECTIONS,
    least: str = "suite",
    slow: str | None = None,
    holds: str | None = None,
) -> Callable[[Callable[[Scenario], None]], Callable[[Scenario], None]]:
    def noted(run: Callable[[Scenario], None]) -> Callable[[Scenario], None]:
        room = run.__module__.rpartition(".")[2]
        STEPS.append(
            Step(f"{room}.{run.__name__}", run, frozenset(needs), places, least, slow, holds)
        )
        return run

    return noted


ORDER = (
    "reading",
    "otherwise",
    "writing",
    "points",
    "points_queries",
    "points_vectors",
    "routes",
    "adapters",
    "commands",
    "files",
    "upkeep",
    "neighbours",
)


def table() -> list[Step]:
    """All steps, file by file."""
    there = {one.name for one in pkgutil.iter_modules(__path__)}
    for name in (*ORDER, *sorted(there - set(ORDER))):
        if name in there:
            import_module(f"{__name__}.{name}")
    return STEPS
