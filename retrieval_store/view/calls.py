"""What the page may ask, as one table: the fields of each call, and what answers it."""

from collections.abc import Callable, Mapping
from typing import Any

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.view import asking, checking, live, mapping, pictures, reading, why
from retrieval_store.view.checking import Check, checked
from retrieval_store.view.views import Views

MOST_RECORDS = 1_000
MOST_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Call:
    """One of them. function: what answers, which takes the fields by their names; required: those
    that can't be left out. What comes back is JSON, bytes, or what `live` returns."""

    function: Callable[..., Any]
    checks: Mapping[str, Check]
    required: tuple[str, ...] = ("collection",)

    def __call__(self, views: Views, body: Any) -> Any:
        """What is answered to a body; InvalidArgumentError names a field that can't be."""
        return self.function(views, **checked(body, self.checks, self.required))


_COLLECTION: Mapping[str, Check] = {"collection": checking.name_of_something}
_FILTERS: Mapping[str, Check] = {
    "where": checking.condition,
    "where_document": checking.condition,
    "keys": checking.several(checking.key, MOST_RECORDS),
}
CALLS: Mapping[str, Call] = {
    "store": Call(reading.store, {}, ()),
    "collection": Call(reading.collection, _COLLECTION),
    "records": Call(
        reading.records,
        {
            **_COLLECTION,
            **_FILTERS,
            "offset": checking.whole(0, asking.DEEPEST),
            "limit": checking.whole(1, MOST_RECORDS),
            "order_by": checking.name_of_something,
            "descending": checking.flag,
        },
    ),
    "record": Call(
        asking.record,
        {
            **_COLLECTION,
            "key": checking.key,
            "space": checking.name_of_something,
            "neighbours": checking.whole(0, asking.MOST_NEIGHBOURS),
        },
        ("collection", "key"),
    ),
    "thumbnail": Call(
        pictures.thumbnail,
        {
            **_COLLECTION,
            "key": checking.key,
            "size": checking.whole(1, pictures.LARGEST_SIZE),
        },
        ("collection", "key"),
    ),
    "count": Call(reading.count, {**_COLLECTION, **_FILTERS, "whole": checking.flag}),
    "query": Call(asking.query, {**_COLLECTION, **asking.CHECKS}),
    "why": Call(
        why.why,
        {
            **_COLLECTION,
            **asking.CHECKS,
            "records": checking.several(checking.key, MOST_RECORDS),
            "ids": checking.several(checking.name_of_something, MOST_RECORDS),
            "containing": checking.some_text,
        },
    ),
    "map": Call(
        mapping.draw,
        {
            **_COLLECTION,
            **_FILTERS,
            "space": checking.name_of_something,
            "sample": checking.whole(1, mapping.MOST_SHOWN),
            "seed": checking.whole(0, MOST_SEED),
            "color": checking.name_of_something,
        },
    ),
    "place": Call(
        mapping.place,
        {
            **_COLLECTION,
            "space": checking.name_of_something,
            "keys": checking.several(checking.key),
            "axes": checking.data,
        },
        ("collection", "keys", "axes"),
    ),
    "live": Call(live.live, _COLLECTION, ()),
}
