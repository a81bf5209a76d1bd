"""Groups of queries whose scores depend on which points are looked at: of prefetches, and of what
is chosen for being different.

What such a query finds of fewer points isn't a part of what it finds of all. So it is asked again
as a server asks it, in rounds: each finds some points, and the next is asked of the others. A first
kind of rounds leaves out the groups that are full; a second asks only for those that aren't.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from retrieval_store.engine.nearest.kept import SearchView
from retrieval_store.engine.ranking.labels import LabelsAt
from retrieval_store.engine.ranking.steps import Ranked, less_is_better, ranked
from retrieval_store.engine.state.fetch import fetch
from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.expression import Expression, HasId, Not, all_of
from retrieval_store.filters.values import Between
from retrieval_store.interface.points import Fields, PointId
from retrieval_store.interface.steps import Diverse, Grouping, GroupValue, Step

ROUNDS = 5  # of each kind: what a server spends


class Hit(NamedTuple):
    """A row that was found, its score, and what an order went by."""

    row: int
    score: float
    value: int | float | None


def is_asked_in_rounds(step: Step) -> bool:
    """Whether the scores of a step depend on which points it is asked of."""
    return bool(step.before) or isinstance(step.scoring, Diverse)


def grouped_in_rounds(
    view: SearchView, step: Step, grouping: Grouping
) -> list[tuple[GroupValue, Ranked]]:
    """The groups of such a step, by their best points."""
    gathered = _Gathered(view, grouping, less_is_better(view, step))
    wide = replace(_widened(step, grouping.size), limit=grouping.groups * grouping.size)
    for groups_asked in (gathered.not_full, gathered.to_fill):
        for _ in range(ROUNDS):
            found = ranked(view, _narrowed(wide, gathered.unseen(), groups_asked()))
            gathered.add(found)
            if gathered.is_enough():
                return gathered.best()
            if not len(found.rows):
                break
    return gathered.best()


def _widened(step: Step, times: int) -> Step:
    """The step with so many times as many points of each before it, of which groups can be full."""
    before = tuple(replace(_widened(one, times), limit=one.limit * times) for one in step.before)
    return replace(step, before=before)


def _narrowed(step: Step, *terms: Expression | None) -> Step:
    """The step asked of points that fulfil the terms: where points are first looked for."""
    if step.before:
        return replace(step, before=tuple(_narrowed(one, *terms) for one in step.before))
    return replace(step, expression=all_of(step.expression, *terms))


@dataclass(slots=True)
class _Gathered:
    """The groups as far as they are known. ascending: whether less ranks first; hits: of each group
    the rows, with score and value; ids: of points that are in any."""

    view: SearchView
    grouping: Grouping
    ascending: bool
    hits: dict[GroupValue, list[Hit]] = field(default_factory=dict)
    ids: dict[PointId, None] = field(default_factory=dict)

    def add(self, found: Ranked) -> None:
        """Put what was found into its groups."""
        labels = LabelsAt(self.grouping.path).read(self.view, found.rows)
        values: Sequence[int | float | None] = found.values or [None] * len(found.rows)
        hits = map(Hit, found.rows.tolist(), found.scores.tolist(), values)
        for hit, label in zip(hits, labels, strict=True):
            for one in label:
                self.hits.setdefault(one, []).append(hit)
        held = np.array([bool(label) for label in labels], np.bool_)
        if held.any():
            self.ids.update(dict.fromkeys(fetch(self.view, found.rows[held], Fields()).ids))

    def unseen(self) -> Expression:
        """What points fulfil that have a value, and are in no group yet."""
        some = Between(ValuesAt(self.grouping.path, "size"), gte=1)
        return all_of(some, Not(HasId(tuple(self.ids))) if self.ids else None) or some

    def not_full(self) -> Expression | None:
        """What points of groups fulfil that aren't full."""
        full = [one for one, hits in self.hits.items() if self._is_full(hits)]
        return self.grouping.besides(full) if full else None

    def to_fill(self) -> Expression | None:
        """What points fulfil of the best groups that aren't full."""
        lacking = [one for one in self._best() if not self._is_full(self.hits[one])]
        return self.grouping.among(lacking) if lacking else None

    def is_enough(self) -> bool:
        """Whether there are so many groups as are wanted, and the best of them are full."""
        full = sum(self._is_full(self.hits[one]) for one in self._best())
        return full >= self.grouping.groups

    def best(self) -> list[tuple[GroupValue, Ranked]]:
        """The best groups with their best points."""
        return [(one, self._ranked(self.hits[one])) for one in self._best()]

    def _is_full(self, hits: Sequence[Hit]) -> bool:
        return len(hits) >= self.grouping.size

    def _place(self, hit: Hit) -> int | float:
        """What ranks a hit, least first: the value of an order, or else the score."""
        rank = hit.score if hit.value is None else hit.value
        return rank if self.ascending else -rank

    def _best(self) -> list[GroupValue]:
        order = sorted(self.hits, key=lambda one: min(map(self._place, self.hits[one])))
        return order[: self.grouping.groups]

    def _ranked(self, hits: Sequence[Hit]) -> Ranked:
        best = sorted(hits, key=self._place)[: self.grouping.size]
        values = [hit.value for hit in best if hit.value is not None]
        rows = np.array([hit.row for hit in best], np.int64)
        return Ranked(rows, np.array([hit.score for hit in best]), values or None)
