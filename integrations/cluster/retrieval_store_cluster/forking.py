"""Copies a collection within a cluster, point by point in Qdrant's form, without decoding the
points.

The settings of the copy are written last. Until then, the new Qdrant collection doesn't count as a
collection of this package.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from qdrant_client import models

from retrieval_store.errors import RetrievalStoreError
from retrieval_store_cluster import schema
from retrieval_store_cluster.client import Cluster
from retrieval_store_cluster.payload import ORDER, payload_bytes
from retrieval_store_cluster.schema import SPARSE, CollectionSettings, parse_key
from retrieval_store_cluster.space import (
    NUMBER_BYTES,
    REQUEST_BYTES,
    Listing,
    QdrantCollection,
    orders_within,
)
from retrieval_store_cluster.write import Sending

MOST_POINTS = 1_000  # in a request


def fork(source: QdrantCollection, settings: CollectionSettings) -> None:
    """Create a collection with these settings, and with the points and payload indexes of `source`.
    If that fails, the new collection is deleted."""
    cluster, name = source.cluster, settings.name
    schema.make_unfinished(cluster, settings)
    try:
        schema.keep_indexes(cluster, settings)
        _fill(source, settings)
        cluster.call("update_collection", name, metadata=settings.as_payload())
    except BaseException:
        with suppress(RetrievalStoreError):
            cluster.call("delete_collection", name)
        raise


def _fill(source: QdrantCollection, settings: CollectionSettings) -> None:
    cluster, name, dimension = source.cluster, settings.name, source.known_dimension()
    if dimension is not None:
        schema.make_room(cluster, settings, dimension)
    for path, kind in source.indexes.kinds_last_read.items():
        if path != parse_key(ORDER):  # it is created with the collection
            arguments = schema.index_arguments(path, kind)
            cluster.call("create_payload_index", name, **arguments, wait=True)

    with Sending(partial(_send, cluster, name)) as sending:
        for page in _pages(source):
            for points in _pieces(page, source.limits.batch or MOST_POINTS):
                sending.add(points)
        sending.wait()


def _send(cluster: Cluster, name: str, points: list[Any]) -> None:
    made = [
        models.PointStruct.model_construct(
            id=point.id, vector=point.vector or {}, payload=point.payload
        )
        for point in points
    ]
    cluster.call("upsert", name, points=made, wait=True)


def _pieces(page: list[Any], most: int) -> Iterator[list[Any]]:
    """The points of a page, divided into groups of limited size, one for each request."""
    points: list[Any] = []
    size = 0
    for point in page:
        bytes_of_point = payload_bytes([point]) + _vector_bytes(point.vector or {})
        if points and (size + bytes_of_point > REQUEST_BYTES or len(points) == most):
            yield points
            points, size = [], 0
        points.append(point)
        size += bytes_of_point
    if points:
        yield points


def _vector_bytes(vectors: Mapping[str, Any]) -> int:
    """An upper estimate of the bytes that vectors take as JSON."""
    lengths = (
        len(vector) if isinstance(vector, list) else 2 * len(vector.indices)
        for vector in vectors.values()
    )
    return NUMBER_BYTES * sum(lengths)


def _pages(source: QdrantCollection) -> Iterator[list[Any]]:
    """All points that exist at the time of the call, each once, in pages in the order of their
    ids."""
    listing = Listing(source, None, ("", SPARSE))
    is_there = orders_within(lte=listing.last_order())
    offset: Any = None
    while True:
        points, offset = source.call(
            "scroll",
            scroll_filter=is_there,
            limit=listing.page_size(),
            offset=offset,
            with_payload=True,
            with_vectors=True,
            **source.consistency,
        )
        source.note_bytes(points)
        if points:
            yield points
        if offset is None:
            return
