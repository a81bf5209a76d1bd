"""Points nearest to a vector."""

import uuid
from typing import Any

import numpy as np
from qdrant_client import models

from retrieval_store.base.arrays import Floats, Matrix
from retrieval_store.base.json_values import shown
from retrieval_store.filters.expression import Expression, HasId, Not, every
from retrieval_store.interface.points import Fields, Hits
from retrieval_store.interface.queries import AnyQuery, MultiQuery, Query, SparseQuery
from retrieval_store.qdrant.collections.configuration import UNNAMED, Vector
from retrieval_store.qdrant.collections.opened import Opened
from retrieval_store.qdrant.collections.strict import check_filter, check_limit
from retrieval_store.qdrant.points.ids import id_to_read
from retrieval_store.qdrant.points.reading import Selection, expression_of
from retrieval_store.qdrant.points.vectors import dense_vector, several_vectors, to_sparse
from retrieval_store.qdrant.refusals import malformed, missing, wrong


def nearest(
    opened: Opened,
    query: Any,
    using: str | None,
    given: models.Filter | None,
    params: models.SearchParams | None,
    limit: Any,
    offset: int | None,
    with_payload: Any,
    with_vectors: Any,
    score_threshold: float | None,
) -> models.QueryResponse:
    """The points nearest to a vector, or to that of a stored point, best first."""
    if not isinstance(limit, int) or limit < 1:
        raise malformed(f"limit is {shown(limit)}, expected 1 or more")
    check_limit(opened, limit)
    check_filter(opened, given)
    vector = opened.vector(using or UNNAMED)
    selection = Selection(opened, with_payload, with_vectors)
    skipped = offset or 0
    expression = expression_of(opened, given)
    if isinstance(query, models.NearestQuery):
        query = query.nearest
    if isinstance(query, int | str | uuid.UUID):
        query, itself = _stored(opened, vector, query)
        expression = every(expression, Not(itself))
    asked = _query(vector, query, limit + skipped, expression, params or models.SearchParams())
    (hits,) = opened.points.search(asked, selection.fields(version=True))
    scores = _scores(vector, hits)
    kept = slice(skipped, _within(vector, scores, score_threshold))
    return models.QueryResponse.model_construct(points=_scored(selection, hits, scores, kept))


def _stored(opened: Opened, vector: Vector, given: Any) -> tuple[Any, Expression]:
    """The vector of a stored point, and what that point alone fulfils."""
    point_id = id_to_read(given)
    points = opened.points.get([point_id], None, None, 0, Fields(vectors=(vector.name,)))
    if not points.ids:
        raise missing(f"Not found: No point with id {given} found")
    column: Any = (points.vectors or {})[vector.name]
    if column[0] is None or (vector.kind == "dense" and np.isnan(column[0][:1]).any()):
        raise missing(f"Not found: the point {given} has no vector {vector.name!r}")
    return column[0], HasId((point_id,))


def _query(
    vector: Vector,
    given: Any,
    k: int,
    expression: Expression | None,
    params: models.SearchParams,
) -> AnyQuery:
    name = vector.name
    if vector.kind == "sparse":
        sparse = given if hasattr(given, "dtype") or _is_ours(given) else to_sparse(given)
        return SparseQuery(name, (sparse,), k, expression)
    if vector.kind == "multi":
        return MultiQuery(name, (several_vectors(vector, given),), k, expression)
    if isinstance(given, models.SparseVector) or given is None:
        raise wrong(f"the query is {shown(given)}, but vectors {name!r} are dense")
    matrix: Matrix = dense_vector(vector, given)
    return Query(name, matrix, k, expression, bool(params.exact), params.hnsw_ef)


def _is_ours(given: Any) -> bool:
    return hasattr(given, "indices") and hasattr(given.indices, "dtype")


def _scores(vector: Vector, hits: Hits) -> Floats:
    """As a server gives them: distances are distances, not their squares."""
    if vector.kind != "dense" or hits.distances is None:
        return hits.scores
    if vector.metric == "l2":
        return np.sqrt(hits.distances)
    return hits.distances if vector.metric == "l1" else hits.scores


def _within(vector: Vector, scores: Floats, threshold: float | None) -> int:
    """How many of the scores are as good as a threshold."""
    if threshold is None:
        return len(scores)
    nearer = vector.kind == "dense" and vector.metric in ("l2", "l1")
    good = scores <= threshold if nearer else scores >= threshold
    return int(np.count_nonzero(good))


def _scored(
    selection: Selection, hits: Hits, scores: Floats, kept: slice
) -> list[models.ScoredPoint]:
    points = hits.points
    assert points.versions is not None
    parts = zip(
        points.ids,
        points.versions.tolist(),
        scores.tolist(),
        selection.payloads(points),
        selection.vectors(points),
        strict=True,
    )
    return [
        models.ScoredPoint.model_construct(
            id=point_id,
            version=version,
            score=score,
            payload=payload,
            vector=vector,
            shard_key=None,
            order_value=None,
        )
        for point_id, version, score, payload, vector in list(parts)[kept]
    ]
