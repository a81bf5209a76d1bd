"""The approximate cost of a read, estimated from its request."""

from collections.abc import Hashable, Iterator
from typing import Any

from qdrant_client.http.models import models

from retrieval_store.extension import conditions_of
from retrieval_store_server.http.legacy_search import SearchBody

MAX_ROWS = 100  # rows of a short response


def cost_class_of(body: Any, size: int) -> Hashable | None:
    """The cost class of a read: the types of its body and its query, the keys in its filter, and
    its size. Reads of one class cost about the same. None if these properties don't tell the cost.
    body: None if the route has no body; size: the number of bytes of the body as sent."""
    if body is None:
        return ()
    if not isinstance(body, SHAPED):
        return None
    fields = vars(body)
    if (fields.get("limit") or 0) > MAX_ROWS or len(fields.get("ids") or ()) > MAX_ROWS:
        return None
    if fields.get("prefetch"):
        return None
    query, condition = (type(fields.get("query")), fields.get("using")), fields.get("filter")
    keys = () if condition is None else tuple(_keys_of(condition))
    return type(body), size.bit_length(), query, keys


def _keys_of(condition: Any) -> Iterator[Hashable]:
    """The kinds of conditions in a filter, each with its key."""
    if isinstance(condition, models.Filter):
        for inner in conditions_of(condition):
            yield from _keys_of(inner)
    elif isinstance(condition, models.NestedCondition):
        yield "nested", condition.nested.key
        yield from _keys_of(condition.nested.filter)
    elif isinstance(condition, models.FieldCondition):
        yield condition.key, *(name for name, value in vars(condition).items() if value is not None)
    elif condition is not None:
        yield type(condition).__name__


SHAPED = (
    SearchBody,
    models.QueryRequest,
    models.CountRequest,
    models.ScrollRequest,
    models.PointRequest,
)
