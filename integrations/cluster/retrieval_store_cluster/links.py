"""Measures how a filtered search should traverse the graph of a Qdrant collection.

If an index on a key is created after the graph, the graph has no links for the key. In this case, a
search by links alone found one of the ten nearest points, with a filter on a tenth of 100,000
points. ACORN, a kind of search in Qdrant, continues with the neighbours of neighbours if a point's
own neighbours don't match. If the index existed before the graph, or the server has rebuilt the
graph since, links alone find as many points, and ACORN takes four times as long. A server doesn't
report whether there are links, so this is measured for each key that filters often use. Both kinds
of search are run near some points, with filters on one value, or on a range. The result applies
only to filters of the same form. It doesn't apply to rare values, since a server then scans all
their points.
"""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
from qdrant_client import models

from retrieval_store.errors import ClusterError
from retrieval_store.extension import Fields, time_in
from retrieval_store.filters.expression import (
    And,
    Exists,
    Expression,
    OneOf,
    PayloadPath,
    Range,
    TextRange,
    ValueLeaf,
    value_at,
)
from retrieval_store_cluster.filters import payload_for, times_between
from retrieval_store_cluster.recall import BEYOND_NEIGHBOURS, LEAST, SAMPLED, hits_found, scores_of
from retrieval_store_cluster.schema import DENSE, KeyLinks, quote_path
from retrieval_store_cluster.space import Listing, QdrantCollection, vectors_to_send

OFTEN = 16  # searches by a key after which it is measured
FILTERS, QUESTIONS, HITS = 8, 32, 10
WAYS = (None, BEYOND_NEIGHBOURS)
EQUAL = ("keyword", "bool")  # indexes that are queried for a value
RANGED = ("integer", "float", "datetime")  # and for a range
SCANNED = 1_000 << 10  # bytes of filtered vectors, all of which a server scans
LINKED = 0.9  # share of the hits beyond neighbours that links find under each filter
AGE = 600.0  # seconds after which the server may have rebuilt the graph
_log = logging.getLogger("retrieval_store.cluster")


def needs_acorn(
    collection: QdrantCollection, expression: Expression | None
) -> models.AcornSearchParams | None:
    """The parameters of ACORN for a search with this filter. None if ACORN is not needed: there is
    no filter, or the filter has a single key, and the graph has links for the values of this
    key."""
    if expression is None:
        return None
    known = _searches_like(collection, expression)
    return None if known is not None and _has_links(collection, *known) else BEYOND_NEIGHBOURS


def _searches_like(
    collection: QdrantCollection, expression: Expression
) -> tuple[PayloadPath, str] | None:
    """The key of a filter on one value or one range, with the kind of the index on that key; None
    for any other filter."""
    terms = expression.terms if isinstance(expression, And) else (expression,)
    paths = {term.path if isinstance(term, ValueLeaf) else None for term in terms}
    path = paths.pop() if len(paths) == 1 else None
    kind = None if path is None else collection.indexes.kinds_last_read.get(path)
    if path is None or kind is None:
        return None
    match terms:
        case [OneOf(values=[_])] if kind in EQUAL:
            return path, kind
        case _ if kind in RANGED and all(isinstance(t, Range | TextRange) for t in terms):
            return path, kind
    return None


def _has_links(collection: QdrantCollection, path: PayloadPath, kind: str) -> bool:
    """Whether the graph has links for the values of a key. This is measured now if the last result
    has expired; other threads wait for the measurement."""
    if collection.indexed < LEAST:
        return False
    known = collection.links.setdefault(path, KeyLinks())
    known.searches += 1
    if known.searches >= OFTEN and time.monotonic() >= known.until:
        with collection.measuring:
            _measure_if_due(collection, path, kind, known)
    return known.are_there


def _measure_if_due(
    collection: QdrantCollection, path: PayloadPath, kind: str, known: KeyLinks
) -> None:
    if time.monotonic() < known.until:  # measured by another thread meanwhile
        return
    known.until = time.monotonic() + AGE
    try:
        known.are_there = _measure(collection, path, kind)
    except ClusterError as error:  # such as a timeout
        _log.warning("%s can't be measured by %s: %s", collection.place, path, error)


def _measure(collection: QdrantCollection, path: PayloadPath, kind: str) -> bool:
    """Whether searches by links alone find the same points as searches with ACORN, under several
    filters on a key."""
    listing = Listing(collection, None, ("",), payload=payload_for(Fields(), Exists(path)))
    drawn = [listed for listed in listing.sample(SAMPLED) if "" in listed.vectors]
    if not drawn:
        return False
    vectors = np.array([listed.vectors[""] for listed in drawn], np.float32)
    values = [value_at(listed.point.payload, path) for listed in drawn]
    few = SCANNED // vectors[0].nbytes
    filters = _filters(quote_path(path), kind, values)
    filters = [condition for condition in filters if collection.count(condition) > few]
    if not filters:
        return False
    other = np.resize([0.2, 0.5], (QUESTIONS, 1))  # near to a point, and half way between two
    place = np.arange(QUESTIONS) % len(vectors)
    asked = (1 - other) * vectors[place] + other * vectors[::-1][place]
    questions = vectors_to_send(asked.astype(np.float32), collection.metric).tolist()
    by_links, beyond = (_scores(collection, questions, filters, way) for way in WAYS)
    shares = hits_found(by_links, beyond, HITS, collection.metric)
    worst = min(float(shares[i :: len(filters)].mean()) for i in range(len(filters)))
    _log.info("by links for %s searches of %s find %.2f at least", path, collection.place, worst)
    return worst >= LINKED


def _scores(
    collection: QdrantCollection,
    questions: list[Any],
    filters: list[models.Filter],
    way: models.AcornSearchParams | None,
) -> list[list[float]]:
    """The scores of the hits of each query. The queries use the filters in turn: the first query
    uses the first filter, and so on, beginning again after the last filter."""
    ef, most = collection.settings.ef, collection.limits.ef
    params = models.SearchParams(hnsw_ef=ef if most is None else min(ef, most), acorn=way)
    requests = [
        models.QueryRequest(
            query=question, using=DENSE, params=params, filter=condition, limit=HITS
        )
        for question, condition in zip(questions, cycle(filters), strict=False)
    ]
    return scores_of(collection, requests)


def _filters(key: str, kind: str, values: Sequence[Any]) -> list[models.Filter]:
    """Filters on the most frequent of the values, or filters on ranges of the values, depending on
    the kind of index."""
    each = [v for value in values for v in (value if isinstance(value, list) else [value])]
    conditions: list[models.FieldCondition] = []
    if kind in EQUAL:
        frequent = Counter(v for v in each if isinstance(v, str | bool)).most_common(FILTERS)
        conditions = [
            models.FieldCondition(key=key, match=models.MatchValue(value=value))
            for value, _ in frequent
        ]
    elif kind in RANGED:
        types = (str,) if kind == "datetime" else (int, float)
        places = [time_in(v) if isinstance(v, str) else v for v in each if type(v) in types]
        ordered = sorted(place for place in places if place is not None)
        step = max(1, -(-len(ordered) // FILTERS))
        for piece in (ordered[i : i + step] for i in range(0, len(ordered), step)):
            span: Any = models.Range(gte=piece[0], lte=piece[-1])
            if kind == "datetime":
                span = times_between(int(piece[0]), int(piece[-1]) + 1)
            if span is not None:
                conditions.append(models.FieldCondition(key=key, range=span))
    return [models.Filter(must=[condition]) for condition in conditions]
