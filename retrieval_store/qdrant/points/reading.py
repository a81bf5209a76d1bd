"""Points as they are read: retrieved by id, scrolled, counted, and their values counted."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from qdrant_client import models

from retrieval_store.base.validation import INT_MAX, shown
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.expression import Expression
from retrieval_store.qdrant.collections.opened import Opened
from retrieval_store.qdrant.collections.strict import check_exact, check_filter, check_limit
from retrieval_store.qdrant.filters.indexes import parse_facet, parse_order
from retrieval_store.qdrant.filters.parsing import parse_filter
from retrieval_store.qdrant.instances import made
from retrieval_store.qdrant.points.ids import id_to_read, ids_to_read
from retrieval_store.qdrant.points.payloads import every_key, selecting, with_reserved_keys
from retrieval_store.qdrant.points.vectors import names_of, shown_vectors
from retrieval_store.qdrant.refusals import malformed, wrong
from retrieval_store.query.types import Fields, Points


class Selection:
    """Which parts of points are shown, and how."""

    def __init__(self, opened: Opened, with_payload: Any, with_vectors: Any) -> None:
        self._configuration = opened.configuration
        self._show = selecting(with_payload)
        self._names = names_of(opened.configuration, with_vectors)

    def fields(self, version: bool = False) -> Fields:
        """What is to be read."""
        return _fields(self._show is not None, self._names, version)

    def with_those(self, others: Fields) -> Fields:
        """What is to be read for this selection and for others."""
        payload = self._show is not None or others.payload
        names = tuple(dict.fromkeys((*others.vectors, *self._names)))
        return Fields(payload, payload, payload, names, others.version)

    def payloads(self, points: Points) -> Sequence[Any]:
        """What is shown of each payload."""
        if self._show is None:
            return [None] * len(points.ids)
        assert points.payloads is not None
        payloads = with_reserved_keys(points.payloads, points.documents, points.uris)
        return payloads if self._show is every_key else list(map(self._show, payloads))

    def vectors(self, points: Points) -> Sequence[Any]:
        """The vectors of each, as models."""
        if not self._names:
            return [None] * len(points.ids)
        return shown_vectors(self._configuration, points, self._names)

    def records(self, points: Points, order: Sequence[Any] | None = None) -> list[models.Record]:
        """The points as models. They are right as they are made, so nothing is validated."""
        values = [None] * len(points.ids) if order is None else order
        parts = zip(points.ids, self.payloads(points), self.vectors(points), values, strict=True)
        return [
            made(
                models.Record,
                {
                    "id": point_id,
                    "payload": payload,
                    "vector": vector,
                    "shard_key": None,
                    "order_value": value,
                },
            )
            for point_id, payload, vector, value in parts
        ]


@lru_cache(maxsize=64)
def _fields(payload: bool, vectors: tuple[str, ...], version: bool) -> Fields:
    return Fields(payload, payload, payload, vectors, version)


def expression_of(opened: Opened, given: Any) -> Expression | None:
    """What a filter means in this collection."""
    return parse_filter(given, opened.configuration.indexes_by_path)


def retrieve(
    opened: Opened, ids: Sequence[Any], with_payload: Any, with_vectors: Any
) -> list[models.Record]:
    """The points with these ids, in their order; those that aren't there are left out."""
    selection = Selection(opened, with_payload, with_vectors)
    points = opened.points.get(ids_to_read(ids), None, None, 0, selection.fields())
    return selection.records(points)


def scroll(
    opened: Opened,
    given: models.Filter | None,
    limit: Any,
    order_by: Any,
    offset: Any,
    with_payload: Any,
    with_vectors: Any,
) -> tuple[list[models.Record], Any]:
    """A page of points in the order of ids, and the id with which the next begins; or in the order
    of a key, without a next."""
    if not isinstance(limit, int) or not 1 <= limit <= INT_MAX:
        raise malformed(f"limit is {shown(limit)}, expected 1 to 2^64-1")
    check_limit(opened, limit)
    check_filter(opened, given)
    selection = Selection(opened, with_payload, with_vectors)
    expression = expression_of(opened, given)
    if order_by is not None:
        if offset is not None:
            raise wrong("Cannot use an `offset` when using `order_by`: go on with its `start_from`")
        order = parse_order(order_by, opened.configuration.indexes_by_path)
        points, values = opened.points.ordered(
            order.at, expression, limit, order.descending, order.start, selection.fields()
        )
        return selection.records(points, values), None
    start = None if offset is None else id_to_read(offset)
    found = opened.points.page(expression, start, limit + 1, selection.fields())
    records = selection.records(found)
    return records[:limit], records[limit].id if len(records) > limit else None


def count(opened: Opened, given: models.Filter | None, exact: bool) -> models.CountResult:
    """How many points fulfil a filter: exactly, whatever is asked for."""
    check_exact(opened, exact)
    check_filter(opened, given)
    number = opened.points.number(expression_of(opened, given))
    return models.CountResult(count=number)


def facet(
    opened: Opened, key: str, given: models.Filter | None, limit: Any, exact: bool
) -> models.FacetResponse:
    """The values of a key and how many points have each: the most frequent first, and of equally
    frequent ones the least."""
    if not isinstance(limit, int) or limit < 1:
        raise malformed(f"limit is {shown(limit)}, expected 1 or more")
    check_limit(opened, limit)
    check_exact(opened, exact)
    check_filter(opened, given)
    try:
        values = parse_facet(key, opened.configuration.indexes_by_path)
    except InvalidFilterError:
        if opened.points.number(None):
            raise
        return models.FacetResponse(hits=[])  # where there are no points, a server asks no index
    counted = opened.points.facet(values, expression_of(opened, given))
    hits = [
        models.FacetValueHit.model_validate({"value": value, "count": number})
        for value, number in counted[:limit]
    ]
    return models.FacetResponse(hits=hits)
