"""What `get`, `query` and `delete` return: dicts in the shape that users of Chroma know.

Every key is always there; a field that wasn't asked for is None.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypedDict

import numpy as np

from retrieval_store.base.arrays import Matrix
from retrieval_store.base.json_values import Payload
from retrieval_store.interface.points import Fields, Hits, Points

GET_FIELDS = frozenset({"documents", "embeddings", "metadatas", "uris", "data"})
QUERY_FIELDS = GET_FIELDS | {"distances"}
SPACE = ""  # the vector space of a Collection


class GetResult(TypedDict):
    """Points, one a place in each list; embeddings: (n, dim) float32."""

    ids: list[str]
    embeddings: Matrix | None
    documents: list[str | None] | None
    uris: list[str | None] | None
    data: list[Any] | None
    metadatas: list[Payload | None] | None
    included: list[str]


class QueryResult(TypedDict):
    """For each query a list of points, best first, with descending scores; embeddings: (n, dim)
    float32 for each; distances: None for a query without vector."""

    ids: list[list[str]]
    embeddings: list[Matrix] | None
    documents: list[list[str | None]] | None
    uris: list[list[str | None]] | None
    data: list[list[Any]] | None
    metadatas: list[list[Payload | None]] | None
    distances: list[list[float | None] | None] | None
    scores: list[list[float]]
    included: list[str]


class DeleteResult(TypedDict):
    """How many points were really deleted."""

    deleted: int


@lru_cache(maxsize=128)
def fields_for(include: frozenset[str]) -> Fields:
    """What to fetch for these names in `include`."""
    return Fields(
        payload="metadatas" in include,
        document="documents" in include,
        uri="uris" in include or "data" in include,
        vectors=(SPACE,) if "embeddings" in include else (),
    )


def get_result(points: Points, include: frozenset[str], data: list[Any] | None) -> GetResult:
    """Points as the result of `get`."""
    return GetResult(
        ids=list(map(str, points.ids)),
        embeddings=_embeddings(points),
        documents=points.documents,
        uris=points.uris if "uris" in include else None,
        data=data,
        metadatas=points.payloads,
        included=sorted(include),
    )


def query_result(
    hits: Sequence[Hits], include: frozenset[str], data: list[list[Any]] | None
) -> QueryResult:
    """Hits as the result of `query`."""
    found = [hit.points for hit in hits]
    return QueryResult(
        ids=[list(map(str, points.ids)) for points in found],
        embeddings=[matrix for p in found if (matrix := _embeddings(p)) is not None]
        if "embeddings" in include
        else None,
        documents=[p.documents for p in found if p.documents is not None]
        if "documents" in include
        else None,
        uris=[p.uris for p in found if p.uris is not None] if "uris" in include else None,
        data=data,
        metadatas=[p.payloads for p in found if p.payloads is not None]
        if "metadatas" in include
        else None,
        distances=[_distances(hit) for hit in hits] if "distances" in include else None,
        scores=[hit.scores.tolist() for hit in hits],
        included=sorted(include),
    )


def _embeddings(points: Points) -> Matrix | None:
    vectors = None if points.vectors is None else points.vectors[SPACE]
    return vectors if isinstance(vectors, np.ndarray) else None


def _distances(hit: Hits) -> list[float | None] | None:
    if hit.distances is None:
        return None
    distances: list[Any] = hit.distances.tolist()
    if math.isnan(sum(distances)):  # NaN: a point without a vector
        return [None if math.isnan(distance) else distance for distance in distances]
    return distances
