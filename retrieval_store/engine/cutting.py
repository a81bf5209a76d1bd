"""Which of what a query finds is shown; of more hits only rows are asked for, and no payloads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval_store.base.arrays import Floats, Ints
from retrieval_store.engine.nearest.kept import SearchView
from retrieval_store.engine.ranking.labels import Kinds, Label, Labelling
from retrieval_store.interface.queries import AnyQuery, Cut, deeper

MORE = 8  # times as many hits are looked at where too few kinds were among those before


@dataclass(slots=True)  # nobody changes it; frozen, it would take three times as long to make
class Scored:
    """Rows, best first, with their scores, and distances where there is something to measure."""

    rows: Ints
    scores: Floats
    distances: Floats | None = None

    def at(self, places: Ints | slice) -> "Scored":
        """Those at the places."""
        distances = None if self.distances is None else self.distances[places]
        return Scored(self.rows[places], self.scores[places], distances)


def shown(found: Scored, cut: Cut) -> Scored:
    """What is shown of hits that are in no groups."""
    return _near(found, cut).at(slice(cut.offset, cut.depth))


def shown_of_each_kind(
    view: SearchView, query: AnyQuery, cut: Cut, rank: Callable[[AnyQuery], list[Scored]]
) -> list[Scored]:
    """What is shown of hits that are in groups, which are ranked as far as it takes."""
    labels = Labelling(view, Kinds((cut.group_by or "",)), query.k)
    while True:
        found = rank(query)
        near = [_near(one, cut) for one in found]
        firsts = [_Firsts(labels.of(one.rows), cut.group_size) for one in near]
        if all(
            len(first.places) >= cut.depth or len(one.rows) < query.k or first.has_all_of(labels)
            for one, first in zip(near, firsts, strict=True)
        ):
            span = slice(cut.offset, cut.depth)
            return [
                one.at(np.array(first.places[span], np.int64))
                for one, first in zip(near, firsts, strict=True)
            ]
        query = deeper(query, MORE * query.k)


def _near(found: Scored, cut: Cut) -> Scored:
    if cut.max_distance is None or found.distances is None:
        return found
    return found.at(np.flatnonzero(found.distances <= cut.max_distance))


class _Firsts:
    """The places of hits of whose kind not too many stand before them."""

    def __init__(self, labels: Sequence[Label], size: int) -> None:
        self.places: list[int] = []
        self._size = size
        self._times: dict[str | int, int] = {}
        times = self._times
        for place, label in enumerate(labels):
            for kind in label:
                times[kind] = times.get(kind, 0) + 1
                if times[kind] <= size:
                    self.places.append(place)

    def has_all_of(self, labels: Labelling) -> bool:
        """Whether no hit that is yet to come would be among them."""
        return labels.kinds == len(self._times) and all(
            times >= min(self._size, labels.most(kind)) for kind, times in self._times.items()
        )
