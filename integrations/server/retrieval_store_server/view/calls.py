"""The page's requests, as one table: the fields of each request, and the function that answers
it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from retrieval_store_server.view import checks, live, query, records
from retrieval_store_server.view.checks import Check, check_body
from retrieval_store_server.view.live import Views

MAX_RECORDS = 1_000
MAX_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Call:
    """A kind of request that the page sends. function: handles the request; its arguments are the
    fields of the body, and it returns JSON, bytes, or the result of `live`. required: the mandatory
    fields."""

    function: Callable[..., Any]
    checks: Mapping[str, Check]
    required: tuple[str, ...] = ("collection",)

    def __call__(self, views: Views, body: Any) -> Any:
        """The result for the body of a request. Raises InvalidArgumentError, which names the field,
        for an invalid field."""
        return self.function(views, **check_body(body, self.checks, self.required))


_COLLECTION: Mapping[str, Check] = {"collection": checks.name_of_something}
_FILTERS: Mapping[str, Check] = {
    "where": checks.condition,
    "where_document": checks.condition,
    "keys": checks.list_of(checks.key, MAX_RECORDS),
}
CALLS: Mapping[str, Call] = {
    "store": Call(records.store, {}, ()),
    "collection": Call(records.collection, _COLLECTION),
    "records": Call(
        records.records,
        {
            **_COLLECTION,
            **_FILTERS,
            "offset": checks.whole(0, query.DEEPEST),
            "limit": checks.whole(1, MAX_RECORDS),
            "order_by": checks.name_of_something,
            "descending": checks.flag,
        },
    ),
    "record": Call(
        query.record,
        {
            **_COLLECTION,
            "key": checks.key,
            "space": checks.name_of_something,
            "neighbours": checks.whole(0, query.MAX_NEIGHBOURS),
        },
        ("collection", "key"),
    ),
    "thumbnail": Call(
        records.thumbnail,
        {
            **_COLLECTION,
            "key": checks.key,
            "size": checks.whole(1, records.LARGEST_SIZE),
        },
        ("collection", "key"),
    ),
    "count": Call(records.count, {**_COLLECTION, **_FILTERS, "whole": checks.flag}),
    "query": Call(query.query, {**_COLLECTION, **query.CHECKS}),
    "why": Call(
        query.why,
        {
            **_COLLECTION,
            **query.CHECKS,
            "records": checks.list_of(checks.key, MAX_RECORDS),
            "ids": checks.list_of(checks.name_of_something, MAX_RECORDS),
            "containing": checks.non_empty_text,
        },
    ),
    "map": Call(
        records.draw,
        {
            **_COLLECTION,
            **_FILTERS,
            "space": checks.name_of_something,
            "sample": checks.whole(1, records.MAX_SHOWN),
            "seed": checks.whole(0, MAX_SEED),
            "color": checks.name_of_something,
        },
    ),
    "place": Call(
        records.place,
        {
            **_COLLECTION,
            "space": checks.name_of_something,
            "keys": checks.list_of(checks.key),
            "axes": checks.data,
        },
        ("collection", "keys", "axes"),
    ),
    "live": Call(live.live, _COLLECTION, ()),
}
