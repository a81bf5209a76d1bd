"""Uploads: points from iterables of any length, in batches of which one at a time is in memory."""

import itertools
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from qdrant_client import models

from retrieval_store.base.validation import shown
from retrieval_store.qdrant.refusals import malformed


def in_batches(points: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """The points, so many at a time."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise malformed(f"batch_size is {shown(size)}, expected 1 or more")
    rest = iter(points)
    while batch := list(itertools.islice(rest, size)):
        yield batch


def points_of(
    vectors: Any, payloads: Iterable[Any] | None, ids: Iterable[Any] | None
) -> Iterator[models.PointStruct]:
    """Points of vectors, payloads and ids that are given apart. The shortest ends them; what isn't
    given is made: ids are UUIDs then."""
    given_ids = (str(uuid.uuid4()) for _ in itertools.count()) if ids is None else ids
    given_payloads = itertools.repeat(None) if payloads is None else payloads
    for point_id, vector, payload in zip(given_ids, _each(vectors), given_payloads, strict=False):
        # Checked where points are written, so not validated number by number here.
        yield models.PointStruct.model_construct(id=point_id, vector=vector, payload=payload)


def _each(vectors: Any) -> Iterator[Any]:
    """The vectors of each point; of several names where these are columns of matrices."""
    if isinstance(vectors, Mapping):
        columns = {name: np.asarray(column) for name, column in vectors.items()}
        for rows in zip(*columns.values(), strict=True):
            yield dict(zip(columns, rows, strict=True))
    else:
        yield from vectors
