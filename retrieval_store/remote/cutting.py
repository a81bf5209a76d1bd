"""Which of the hits of a query are shown, where more have to be asked for: groups are made here."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Ints
from retrieval_store.base.json_values import Payload, kind_of
from retrieval_store.filters.expression import value_at
from retrieval_store.interface.points import Fields, Hits, Points
from retrieval_store.interface.queries import AnyQuery, Cut, deeper

MORE = 4  # times as many hits are looked at where too few values were among those before


def cut_hits(
    search: Callable[[AnyQuery, Fields], list[Hits]], query: AnyQuery, fields: Fields, cut: Cut
) -> list[Hits]:
    """What a query finds, as it is shown."""
    if cut.group_by is None:
        hits = search(query, fields)
        return [_chosen(one, _near(one, cut)[cut.offset : cut.depth]) for one in hits]
    with_payloads = replace(fields, payload=True)
    while True:
        hits = search(query, with_payloads)
        grouped = [_grouped(one, cut) for one in hits]
        ended = all(len(one.points.ids) < query.k for one in hits)
        if ended or all(len(places) >= cut.depth for places in grouped):
            return [
                _chosen(one, places[cut.offset : cut.depth])
                for one, places in zip(hits, grouped, strict=True)
            ]
        query = deeper(query, MORE * query.k)


def _near(hits: Hits, cut: Cut) -> Ints:
    places = np.arange(len(hits.points.ids))
    if cut.max_distance is None or hits.distances is None:
        return places
    return places[hits.distances <= cut.max_distance]


def _grouped(hits: Hits, cut: Cut) -> Ints:
    """The places of hits of which each has a value that not too many before it have."""
    times: dict[str | int, int] = {}
    kept = []
    payloads: Sequence[Payload | None] = hits.points.payloads or ()
    for place in _near(hits, cut).tolist():
        kind = kind_of(value_at(payloads[place], (cut.group_by or "",)))
        if kind is not None:
            times[kind] = times.get(kind, 0) + 1
            if times[kind] <= cut.group_size:
                kept.append(place)
    return np.array(kept, np.int64)


def _chosen(hits: Hits, places: Ints) -> Hits:
    points, at = hits.points, places.tolist()

    def some(column: Any) -> Any:
        return None if column is None else [column[i] for i in at]

    vectors = points.vectors and {
        name: column[places] if isinstance(column, np.ndarray) else some(column)
        for name, column in points.vectors.items()
    }
    chosen = Points(
        some(points.ids), some(points.payloads), some(points.documents), some(points.uris), vectors
    )
    distances = None if hits.distances is None else hits.distances[places]
    return Hits(chosen, distances, hits.scores[places])
