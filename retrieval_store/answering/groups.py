"""Hits by groups: the best of each value in one ranking, and groups as a server makes them.

A step is ranked as far as it takes until no hit that is yet to come could be among those that are
wanted. Where scores depend on which points are looked at (of prefetches, and of what is chosen for
being different), what a step finds of fewer points isn't a part of what it finds of all. So such a
step is asked again as a server asks it, in rounds: each finds some points, and the next is asked of
the others. A first kind of rounds leaves out the groups that are full; a second asks only for those
that aren't.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple, TypeAlias

import numpy as np

from retrieval_store.answering.leaves import Label, Labelling, Leaves, Ranked
from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.expression import Expression, HasId, Not, all_of
from retrieval_store.filters.values import Between
from retrieval_store.interface.points import Fields, PointId
from retrieval_store.interface.questions import (
    BestOfEach,
    Diverse,
    Groups,
    GroupValue,
    Step,
    with_limit,
)

MORE = 8  # times as many hits are looked at where too few groups were among those before
FIRST_LOOK = 4  # times as many as there may be in groups
USUAL = 2  # times what one group holds, of points in which each value comes once, …
TWICE = 2  # … and then once more, where the groups are known
ROUNDS = 5  # of each kind: what a server spends
Rank: TypeAlias = Callable[[Step], list[Ranked]]  # what a step finds for each of its queries


def count_groups(
    labels: Sequence[Label], size: int, most: int | None = None
) -> dict[GroupValue, list[int]]:
    """Where the first `size` of each group are, of the first `most` groups, or all if None; groups
    in the order of their first."""
    places: dict[GroupValue, list[int]] = {}
    for place, label in enumerate(labels):
        for value in label:
            at = places.get(value)
            if at is None and len(places) != most:
                places[value] = [place]
            elif at is not None and len(at) < size:
                at.append(place)
    return places


def best_of_each(leaves: Leaves, rank: Rank, step: Step, kinds: BestOfEach) -> list[Ranked]:
    """For each query of a step the best hits of each value, in one ranking."""
    limit = step.depth
    labels = leaves.labelling(kinds, limit)
    while True:
        found = rank(with_limit(step, limit))
        each = [count_groups(labels.of(one.items), kinds.size) for one in found]
        if all(
            not one.is_cut
            or sum(map(len, places.values())) >= step.depth
            or _has_all(places, labels, kinds.size)
            for one, places in zip(found, each, strict=True)
        ):
            window = slice(step.offset, step.depth)
            return [
                one.at(np.array(sorted(chain.from_iterable(places.values()))[window], np.int64))
                for one, places in zip(found, each, strict=True)
            ]
        limit *= MORE


def _has_all(places: dict[GroupValue, list[int]], labels: Labelling, size: int) -> bool:
    """Whether no hit that is yet to come would be the best of its group."""
    return labels.kinds == len(places) and all(
        len(at) >= min(size, labels.most(value)) for value, at in places.items()
    )


def grouped(
    leaves: Leaves, rank: Rank, step: Step, groups: Groups, ascending: bool
) -> list[tuple[GroupValue, Ranked]]:
    """The first so many groups, by their best hits, with so many hits each. A point is in the group
    of each of its values; one with a value that is neither a string nor an integer is in none.
    ascending: whether the best has the least score, or value of an order."""
    if step.prefetch or isinstance(step.scoring, Diverse):
        return _in_rounds(leaves, rank, step, groups, ascending)
    limit = groups.count * groups.size * FIRST_LOOK
    labels = leaves.labelling(groups, limit)
    limit = max(limit, min(MORE * limit, labels.apart * groups.size * USUAL))
    while True:
        (found,) = rank(replace(step, limit=limit))
        places = count_groups(labels.of(found.items), groups.size, groups.count)
        if len(set(map(type, places))) > 1:  # a server loses some: its conditions are of one type
            return _in_rounds(leaves, rank, step, groups, ascending)
        lack = any(len(at) < min(groups.size, labels.most(one)) for one, at in places.items())
        full = len(places) == groups.count and not lack
        if full or not found.is_cut:
            return [(one, found.at(np.array(at, np.int64))) for one, at in places.items()]
        limit *= MORE if len(places) < groups.count else TWICE


class _Hit(NamedTuple):
    """An item that was found, its score, and what an order went by."""

    item: int
    score: float
    value: int | float | None


def _in_rounds(
    leaves: Leaves, rank: Rank, step: Step, groups: Groups, ascending: bool
) -> list[tuple[GroupValue, Ranked]]:
    """The groups of a step whose scores depend on which points it is asked of."""
    limit = groups.count * groups.size
    labels = leaves.labelling(groups, limit)
    gathered = _Gathered(leaves, groups, labels, ascending)
    wide = replace(_widened(step, groups.size), limit=limit)
    for groups_asked in (gathered.not_full, gathered.to_fill):
        for _ in range(ROUNDS):
            (found,) = rank(_narrowed(wide, gathered.unseen(), groups_asked()))
            gathered.add(found)
            if gathered.is_enough():
                return gathered.best()
            if not len(found.items):
                break
    return gathered.best()


def _widened(step: Step, times: int) -> Step:
    """The step with so many times as many points of each prefetch, of which groups can be full."""
    prefetch = tuple(
        replace(_widened(one, times), limit=one.limit * times) for one in step.prefetch
    )
    return replace(step, prefetch=prefetch)


def _narrowed(step: Step, *terms: Expression | None) -> Step:
    """The step asked of points that fulfil the terms: where points are first looked for."""
    if step.prefetch:
        return replace(step, prefetch=tuple(_narrowed(one, *terms) for one in step.prefetch))
    return replace(step, expression=all_of(step.expression, *terms))


@dataclass(slots=True)
class _Gathered:
    """The groups as far as they are known. ascending: whether less ranks first; hits: of each group
    the items, with score and value; ids: of points that are in any."""

    leaves: Leaves
    groups: Groups
    labels: Labelling
    ascending: bool
    hits: dict[GroupValue, list[_Hit]] = field(default_factory=dict)
    ids: dict[PointId, None] = field(default_factory=dict)

    def add(self, found: Ranked) -> None:
        """Put what was found into its groups."""
        labels = self.labels.of(found.items)
        values: Sequence[int | float | None] = found.values or [None] * len(found.items)
        hits = map(_Hit, found.items.tolist(), found.scores.tolist(), values)
        for hit, label in zip(hits, labels, strict=True):
            for one in label:
                self.hits.setdefault(one, []).append(hit)
        held = found.items[np.array([bool(label) for label in labels], np.bool_)]
        (points,) = self.leaves.fetch([held], Fields())
        self.ids.update(dict.fromkeys(points.ids))

    def unseen(self) -> Expression:
        """What points fulfil that have a value, and are in no group yet."""
        some = Between(ValuesAt(self.groups.path, "size"), gte=1)
        return all_of(some, Not(HasId(tuple(self.ids))) if self.ids else None) or some

    def not_full(self) -> Expression | None:
        """What points of groups fulfil that aren't full."""
        full = [one for one, hits in self.hits.items() if self._is_full(hits)]
        return self.groups.besides(full) if full else None

    def to_fill(self) -> Expression | None:
        """What points fulfil of the best groups that aren't full."""
        lacking = [one for one in self._best() if not self._is_full(self.hits[one])]
        return self.groups.among(lacking) if lacking else None

    def is_enough(self) -> bool:
        """Whether there are so many groups as are wanted, and the best of them are full."""
        full = sum(self._is_full(self.hits[one]) for one in self._best())
        return full >= self.groups.count

    def best(self) -> list[tuple[GroupValue, Ranked]]:
        """The best groups with their best points."""
        return [(one, self._ranked(self.hits[one])) for one in self._best()]

    def _is_full(self, hits: Sequence[_Hit]) -> bool:
        return len(hits) >= self.groups.size

    def _place(self, hit: _Hit) -> int | float:
        """What ranks a hit, least first: the value of an order, or else the score."""
        rank = hit.score if hit.value is None else hit.value
        return rank if self.ascending else -rank

    def _best(self) -> list[GroupValue]:
        order = sorted(self.hits, key=lambda one: min(map(self._place, self.hits[one])))
        return order[: self.groups.count]

    def _ranked(self, hits: Sequence[_Hit]) -> Ranked:
        best = sorted(hits, key=self._place)[: self.groups.size]
        values = [hit.value for hit in best if hit.value is not None]
        items = np.array([hit.item for hit in best], np.int64)
        scores = np.array([hit.score for hit in best])
        return Ranked(items, scores, values=values or None)
