"""Grouped hits: the best hits of each value in one ranking, and groups as a Qdrant server forms.

Usually a step is ranked deeper and deeper, until no further hit could belong to the result. That
doesn't work where scores depend on the set of candidates (steps with prefetches, and `Diverse`):
ranking fewer points then isn't a prefix of ranking all. Such a step is repeated in rounds, as a
server does it: each round ranks only the points that no earlier round has put into a group. The
first rounds exclude the groups that are full; if groups are still missing points afterwards, a
second series of rounds is restricted to the groups that aren't full.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple, TypeAlias

import numpy as np

from retrieval_store.answering.leaves import Label, Labelling, Leaves, Ranked
from retrieval_store.base.dataclasses import dataclass, field, replace
from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.nodes import Expression, HasId, Not, all_of
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

MORE = 8  # factor by which the depth grows while there are too few groups
FIRST_LOOK = 4  # the first depth, in multiples of the hits that all groups hold
USUAL = 2  # the first depth, in multiples of `Labelling.apart` times the size of a group
TWICE = 2  # factor by which the depth grows once all groups are known but not full
ROUNDS = 5  # at most so many of each series, like a server
Rank: TypeAlias = Callable[[Step], list[Ranked]]  # one ranking for each query of a step


def count_groups(
    labels: Sequence[Label], size: int, most: int | None = None
) -> dict[GroupValue, list[int]]:
    """For each group the places of its first `size` hits. Groups come in the order of their first
    hit; only the first `most` of them, all if None."""
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
    """For each query of a step one ranking with at most `kinds.size` hits of each value."""
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
    """Whether every group is known and full, so that no further hit can belong to the result."""
    return labels.kinds == len(places) and all(
        len(at) >= min(size, labels.most(value)) for value, at in places.items()
    )


def grouped(
    leaves: Leaves, rank: Rank, step: Step, groups: Groups, ascending: bool
) -> list[tuple[GroupValue, Ranked]]:
    """The first `groups.count` groups, ordered by their best hits, with at most `groups.size` hits
    each. A point is in the group of each of its values; a point with any value that is neither a
    string nor an integer is in none. ascending: whether the hit with the least score, or the least
    value of an order, is the best."""
    if step.prefetch or isinstance(step.scoring, Diverse):
        return _in_rounds(leaves, rank, step, groups, ascending)
    limit = groups.count * groups.size * FIRST_LOOK
    labels = leaves.labelling(groups, limit)
    limit = max(limit, min(MORE * limit, labels.apart * groups.size * USUAL))
    while True:
        (found,) = rank(replace(step, limit=limit))
        places = count_groups(labels.of(found.items), groups.size, groups.count)
        if len(set(map(type, places))) > 1:  # a server loses groups of the other type
            return _in_rounds(leaves, rank, step, groups, ascending)
        lack = any(len(at) < min(groups.size, labels.most(one)) for one, at in places.items())
        full = len(places) == groups.count and not lack
        if full or not found.is_cut:
            return [(one, found.at(np.array(at, np.int64))) for one, at in places.items()]
        limit *= MORE if len(places) < groups.count else TWICE


class _Hit(NamedTuple):
    """An item that was found, its score, and the value it was ordered by, None without an order."""

    item: int
    score: float
    value: int | float | None


def _in_rounds(
    leaves: Leaves, rank: Rank, step: Step, groups: Groups, ascending: bool
) -> list[tuple[GroupValue, Ranked]]:
    """The groups of a step whose scores depend on the set of candidates; see the module."""
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
    """The step with the limit of each prefetch multiplied, so that groups can become full."""
    prefetch = tuple(
        replace(_widened(one, times), limit=one.limit * times) for one in step.prefetch
    )
    return replace(step, prefetch=prefetch)


def _narrowed(step: Step, *terms: Expression | None) -> Step:
    """The step restricted to points that fulfil the terms. With prefetches the innermost ones are
    restricted, since they choose the candidates."""
    if step.prefetch:
        return replace(step, prefetch=tuple(_narrowed(one, *terms) for one in step.prefetch))
    return replace(step, expression=all_of(step.expression, *terms))


@dataclass(slots=True)
class _Gathered:
    """The groups found so far. ascending: whether the least score or value ranks first; hits: those
    of each group; ids: the points that are in at least one group (a dict, as an ordered set)."""

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
        """The filter for points that have a value and are in no group yet."""
        some = Between(ValuesAt(self.groups.path, "size"), gte=1)
        return all_of(some, Not(HasId(tuple(self.ids))) if self.ids else None) or some

    def not_full(self) -> Expression | None:
        """The filter that excludes the groups that are full; None if none is."""
        full = [one for one, hits in self.hits.items() if self._is_full(hits)]
        return self.groups.besides(full) if full else None

    def to_fill(self) -> Expression | None:
        """The filter for points of those best groups that aren't full; None if all are."""
        lacking = [one for one in self._best() if not self._is_full(self.hits[one])]
        return self.groups.among(lacking) if lacking else None

    def is_enough(self) -> bool:
        """Whether the wanted number of groups is there, and the best of them are full."""
        full = sum(self._is_full(self.hits[one]) for one in self._best())
        return full >= self.groups.count

    def best(self) -> list[tuple[GroupValue, Ranked]]:
        """The best groups with their best points."""
        return [(one, self._ranked(self.hits[one])) for one in self._best()]

    def _is_full(self, hits: Sequence[_Hit]) -> bool:
        return len(hits) >= self.groups.size

    def _place(self, hit: _Hit) -> int | float:
        """The sort key of a hit, least first: the value of an order, else the score."""
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
