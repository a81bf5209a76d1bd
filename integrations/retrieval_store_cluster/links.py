"""How a search by a filter goes through the graph of a Qdrant collection.

An index of a key that is made after the graph has no links in it: among a tenth of 100,000 points a
search by links alone found one of the ten nearest. So a search goes on by the neighbours of
neighbours where those of a point don't pass (Qdrant's ACORN). Where a server has made the graph
anew since, or the index was there before, a search beyond neighbours takes four times as long, and
links alone find as much. A server doesn't tell, so it is measured, for each key that is searched by
often: both ways are asked for what is near to some points, among those with one value, or a few.
"""

import time
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
from qdrant_client import models

from retrieval_store.base.tracing import log_of
from retrieval_store.errors import ClusterError
from retrieval_store.filters.expression import Exists, Expression, PayloadPath, value_at
from retrieval_store.filters.leaves import ValueLeaf
from retrieval_store.filters.nodes import COMBINATIONS, walk
from retrieval_store.query.types import Fields
from retrieval_store_cluster.filters import payload_for
from retrieval_store_cluster.recall import BEYOND_NEIGHBOURS, LEAST, SAMPLED, hits_found, in_batches
from retrieval_store_cluster.schema import DENSE, KeyLinks, quote_path
from retrieval_store_cluster.space import Listing, QdrantCollection, vectors_to_send

OFTEN = 16  # searches by a key, from which on it is measured
FILTERS, QUESTIONS, HITS = 16, 32, 10
WAYS = (None, BEYOND_NEIGHBOURS)
EQUAL = ("keyword", "bool")  # indexes that are asked for a value
RANGES: dict[str, Any] = {  # and for a range, of which values
    "integer": ((int,), models.Range),
    "float": ((int, float), models.Range),
    "datetime": ((str,), models.DatetimeRange),
}
LINKED = 0.92  # of the hits beyond neighbours, which links alone find where there are any
AGE = 600.0  # seconds after which the server may have made another graph
_log = log_of("cluster")


def beyond_neighbours(
    collection: QdrantCollection, expression: Expression | None
) -> models.AcornSearchParams | None:
    """How a search by a filter goes on; None without one, and for one by a single key for whose
    values the graph is known to have links."""
    if expression is None:
        return None
    leaves = [node for node in walk(expression) if not isinstance(node, COMBINATIONS)]
    paths = {leaf.path if isinstance(leaf, ValueLeaf) else None for leaf in leaves}
    path = paths.pop() if len(paths) == 1 else None
    return None if path is not None and _has_links(collection, path) else BEYOND_NEIGHBOURS


def _has_links(collection: QdrantCollection, path: PayloadPath) -> bool:
    """Whether the graph has links by a key, measured now where it is time; meanwhile other threads
    go by what was known."""
    kind = collection.indexes.kinds_last_read.get(path)
    if kind is None or collection.indexed < LEAST:
        return False
    known = collection.links.setdefault(path, KeyLinks())
    known.searches += 1
    is_time = known.searches >= OFTEN and time.monotonic() >= known.until
    if is_time and collection.measuring.acquire(blocking=False):
        try:
            known.until = time.monotonic() + AGE
            known.are_there = _measure(collection, path, kind)
        except ClusterError as error:  # such as a limit of time
            _log.warning("%s can't be measured by %s: %s", collection.place, path, error)
        finally:
            collection.measuring.release()
    return known.are_there


def _measure(collection: QdrantCollection, path: PayloadPath, kind: str) -> bool:
    """Whether searches by links alone find what those beyond neighbours do, under filters by a
    key."""
    listing = Listing(collection, None, ("",), payload=payload_for(Fields(), Exists(path)))
    drawn = [listed for listed in listing.sample(SAMPLED) if "" in listed.vectors]
    values = [value_at(listed.point.payload, path) for listed in drawn]
    conditions = _conditions(quote_path(path), kind, values)
    if not conditions:
        return False
    vectors = np.array([listed.vectors[""] for listed in drawn], np.float32)
    other = np.resize([0.2, 0.5], (QUESTIONS, 1))  # near to a point, and half way between two
    place = np.arange(QUESTIONS) % len(vectors)
    asked = (1 - other) * vectors[place] + other * vectors[::-1][place]
    questions = vectors_to_send(asked.astype(np.float32), collection.metric).tolist()
    ways = [models.SearchParams(hnsw_ef=collection.settings.ef, acorn=way) for way in WAYS]
    requests = [
        models.QueryRequest(query=question, using=DENSE, params=way, filter=condition, limit=HITS)
        for way in ways
        for question, condition in zip(questions, cycle(conditions), strict=False)
    ]
    scores = [
        [point.score for point in response.points]
        for batch in in_batches(requests, collection.limits.searches)
        for response in collection.query_batch(batch)
    ]
    by_links, beyond = scores[:QUESTIONS], scores[QUESTIONS:]
    share = float(hits_found(by_links, beyond, HITS, collection.metric).mean())
    _log.info("by links for %s searches of %s find %.2f", path, collection.place, share)
    return share >= LINKED


def _conditions(key: str, kind: str, values: Sequence[Any]) -> list[models.Filter]:
    """Filters that few of the points with the values pass: for each value, or for pieces of their
    order, whichever an index of this kind is asked."""
    each = [v for value in values for v in (value if isinstance(value, list) else [value])]
    conditions: list[models.FieldCondition] = []
    if kind in EQUAL:
        conditions = [
            models.FieldCondition(key=key, match=models.MatchValue(value=value))
            for value in dict.fromkeys(v for v in each if isinstance(v, str | bool))
        ]
    elif kind in RANGES:
        types, range_of = RANGES[kind]
        ordered = sorted(v for v in each if type(v) in types)
        step = max(1, len(ordered) // FILTERS)
        conditions = [
            models.FieldCondition(key=key, range=range_of(gte=piece[0], lte=piece[-1]))
            for piece in (ordered[i : i + step] for i in range(0, len(ordered), step))
        ]
    return [models.Filter(must=[condition]) for condition in conditions[:FILTERS]]
