"""Reads points: retrieves them by id, scrolls, counts them, and counts their values (`facet`).
Edits payloads (`edit_payload`, `setting`, `deleting`).

`Collection` stores documents and uris outside the payload. Qdrant's clients read and write them as
two keys of the payload. `make_model` makes instances of qdrant-client's models without validation.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel
from qdrant_client import models

from retrieval_store.base import budget
from retrieval_store.base.validation import INT_MAX, MAX_DEPTH, Payload, quote
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.expression import Expression
from retrieval_store.filters.paths import DOCUMENT, EACH, URI, Step
from retrieval_store.qdrant.collections import CollectionHandle, check_shard_key
from retrieval_store.qdrant.filter_parser import parse_filter
from retrieval_store.qdrant.payload_indexes import parse_facet, parse_order, parse_path
from retrieval_store.qdrant.refusals import bad_request, describe, wrong
from retrieval_store.qdrant.strict_mode import check_exact, check_filter, check_limit
from retrieval_store.qdrant.vectors import id_to_read, ids_to_read, names_of, show_vectors
from retrieval_store.query.types import Content, Fields, Points

Path: TypeAlias = Sequence[Step]
Tree: TypeAlias = "dict[Step, Tree | None]"
NO_PATHS: Tree = {}
FACET_HIT = 800  # bytes of a value and its count as a model, and in the answer
Shown: TypeAlias = Callable[[Payload], Any]


def content_of(payload: Payload) -> Content:
    """A payload as the content of a point, in which the document and the URI are separate from the
    other keys."""
    if DOCUMENT not in payload and URI not in payload:
        return Content(payload, None, None)
    rest = dict(payload)
    document, uri = _text(rest, DOCUMENT), _text(rest, URI)
    return Content(rest, document, uri)


def _text(payload: Payload, name: str) -> str | None:
    value = payload.pop(name, None)
    if value is None or isinstance(value, str):
        return value
    raise wrong(f"payload[{name!r}] is {value!r}: expected a string; the name is reserved")


def with_reserved_keys(
    payloads: Sequence[Payload | None],
    documents: Sequence[str | None] | None,
    uris: Sequence[str | None] | None,
) -> list[Payload]:
    """The payloads, with documents and URIs as keys in them. Most points have neither."""
    full_payloads = [payload or {} for payload in payloads]
    for name, texts in ((DOCUMENT, documents), (URI, uris)):
        if texts is not None and texts.count(None) < len(texts):
            full_payloads = [
                payload if text is None else {**payload, name: text}
                for payload, text in zip(full_payloads, texts, strict=True)
            ]
    return full_payloads


def edit_payload(
    change: Callable[[Payload | None], Payload | None],
) -> Callable[[Content], Content]:
    """A function that edits the content of a point by `change`, a function that edits a payload in
    the form that users see. If `change` returns None, the point loses its payload, as with
    `clear`."""

    def edit(content: Content) -> Content:
        (shown,) = with_reserved_keys([content.payload], [content.document], [content.uri])
        after = change(shown if shown or content.payload is not None else None)
        return content if after is None else content_of(after)

    return edit


def setting(new: Payload, key: str | None) -> Callable[[Payload | None], Payload]:
    """A function that sets the keys of `new` in a payload, or in the object at the path `key`; null
    deletes a key. As on a server, a point without a payload gets `new` unchanged."""
    if key is None:
        return lambda old: new if old is None else _merge_payload(old, new)
    path = parse_path(key).steps
    if len(path) + _levels(new) > MAX_DEPTH:
        raise wrong(f"the payload would be nested deeper than {MAX_DEPTH} levels at {quote(key)}")
    return lambda old: _set_at_path(old, path, new)


def _levels(value: Any) -> int:
    """How deeply lists and dicts are nested in a value."""
    if not isinstance(value, list | dict):
        return 0
    within = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_levels, within), default=0)


def _merge_payload(old: Any, new: Payload) -> Payload:
    merged = {**old, **new} if isinstance(old, dict) else dict(new)
    return {name: value for name, value in merged.items() if value is not None or name not in new}


def _set_at_path(value: Any, path: Path, new: Payload) -> Any:
    """`value`, with `new` merged into the dict at the path. Missing dicts on the path are
    created."""
    if not path:
        return _merge_payload(value, new)
    step, rest = path[0], path[1:]
    if isinstance(step, str):
        fields = value if isinstance(value, dict) else {}
        return {**fields, step: _set_at_path(fields.get(step), rest, new)}
    items = value if isinstance(value, list) else []
    places = range(len(items)) if step is EACH else [step]
    return [_set_at_path(item, rest, new) if i in places else item for i, item in enumerate(items)]


def deleting(keys: Sequence[str]) -> Callable[[Payload | None], Payload | None]:
    """A function that deletes the values at these paths from a payload."""
    if isinstance(keys, str):
        raise bad_request(f"keys is {keys!r}, expected a sequence of keys")
    # A server empties lists, and takes no single element out of them.
    tree = _tree_of(path for path in _paths_of(keys) if not isinstance(path[-1], int))
    return lambda old: _without(old, tree)


def _paths_of(keys: Iterable[str]) -> Iterator[Path]:
    for key in keys:
        budget.check()
        yield parse_path(key).steps


def _tree_of(paths: Iterable[Path]) -> Tree:
    """The paths as a tree of steps, so that each level of a value is visited once for all paths. A
    node is None if a path ends there, even if other paths continue."""
    tree: Tree = {}
    for path in paths:
        node: Tree | None = tree
        for step in path[:-1]:
            if node is not None:
                node = node.setdefault(step, {})
        if node is not None:
            node[path[-1]] = None
    return tree


def _without(value: Any, tree: Tree) -> Any:
    """The value without the parts that the paths select."""
    if not tree:
        return value
    if isinstance(value, dict):
        return {
            key: _without(part, rest)
            for key, part in value.items()
            if (rest := tree.get(key, NO_PATHS)) is not None
        }
    if not isinstance(value, list):
        return value
    each = tree.get(EACH, NO_PATHS)
    if each is None:
        return []
    return [_without(_without(item, each), tree.get(i) or NO_PATHS) for i, item in enumerate(value)]


def selecting(with_payload: Any) -> Shown | None:
    """A function that selects the part of a payload to return; None if no payload is returned."""
    if isinstance(with_payload, bool) or with_payload is None:
        return every_key if with_payload else None
    if isinstance(with_payload, models.PayloadSelectorInclude):
        return _select_keys(with_payload.include)
    if isinstance(with_payload, models.PayloadSelectorExclude):
        paths = _paths_of(with_payload.exclude)
        # No element of a list is left out by its place.
        excluded = _tree_of(path for path in paths if int not in map(type, path))
        return lambda payload: _without(payload, excluded)
    if isinstance(with_payload, Iterable) and not isinstance(with_payload, str | Mapping):
        return _select_keys(list(with_payload))
    raise wrong(f"with_payload is {with_payload!r}: expected a bool, keys, or a PayloadSelector")


def every_key(payload: Payload) -> Payload:
    """The whole payload unchanged."""
    return payload


def _select_keys(keys: Sequence[str]) -> Shown:
    tree = _tree_of(_paths_of(keys))
    return lambda payload: _including(payload, tree)


def _including(value: Any, tree: "Tree | None") -> Any:
    """The part of a value that the paths select. As on a server, a string, number or bool is
    included even if a path continues below it. A path can't select an element of a list by its
    position."""
    if tree is None:
        return value
    if isinstance(value, dict):
        return {key: _including(part, tree[key]) for key, part in value.items() if key in tree}
    if isinstance(value, list):
        return [_including(item, tree[EACH]) for item in value] if EACH in tree else []
    return value


def clear_payload(content: Content) -> Content:
    """The content after its payload, document and URI were deleted."""
    return replace(content, payload=None, document=None, uri=None)


Model = TypeVar("Model", bound=BaseModel)
# What an instance of pydantic consists of: four slots, which it fills when it validates, copies
# and unpickles. They are set directly, past the `__setattr__` of models.
_set_values = BaseModel.__dict__["__dict__"].__set__
_set_given = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_set_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
_set_private = BaseModel.__dict__["__pydantic_private__"].__set__


def make_model(kind: type[Model], values: dict[str, Any]) -> Model:
    """An instance of a model with these values: one for each field, in the order of the fields, and
    of the types that validation would make.

    The instance equals a validated one, and is dumped, copied, pickled and printed like an instance
    with all fields set, as in a server's answer. Answers have many instances, and their values were
    validated when they were written. Without validation, an answer takes less than half the time;
    `model_construct` is even slower than validation.
    """
    instance: Model = object.__new__(kind)
    _set_values(instance, values)
    _set_given(instance, set(values))
    _set_extra(instance, None)
    _set_private(instance, None)
    return instance


class Selection:
    """Which fields of points are returned, and in which form."""

    def __init__(self, opened: CollectionHandle, with_payload: Any, with_vectors: Any) -> None:
        self._configuration = opened.configuration
        self._show = selecting(with_payload)
        self._names = names_of(opened.configuration, with_vectors)
        self._existing: tuple[str, ...] = ()
        if self._names:
            known = self._configuration.by_name
            self._existing = tuple(name for name in self._names if name in known)

    def fields(self, version: bool = False) -> Fields:
        """The fields to read."""
        return _fields(self._show is not None, self._existing, version)

    def merged_with(self, others: Fields) -> Fields:
        """The fields to read: those of this selection, and the fields `others`."""
        payload = self._show is not None or others.payload
        names = tuple(dict.fromkeys((*others.vectors, *self._existing)))
        return Fields(payload, payload, payload, names, others.version)

    def payloads(self, points: Points) -> Sequence[Any]:
        """The payloads to return."""
        if self._show is None:
            return [None] * len(points.ids)
        assert points.payloads is not None
        payloads = with_reserved_keys(points.payloads, points.documents, points.uris)
        return payloads if self._show is every_key else [*map(self._select, payloads)]

    def _select(self, payload: Payload) -> Any:
        budget.check()
        assert self._show is not None
        return self._show(payload)

    def vectors(self, points: Points) -> Sequence[Any]:
        """The vectors of each point, as numbers or as instances of qdrant-client's model
        classes."""
        if self._names is None:
            return [None] * len(points.ids)
        return show_vectors(self._configuration, points, self._names)

    def records(self, points: Points, order: Sequence[Any] | None = None) -> list[models.Record]:
        """The points as `models.Record` objects. Validation is skipped, since stored points are
        valid."""
        values = [None] * len(points.ids) if order is None else order
        parts = zip(points.ids, self.payloads(points), self.vectors(points), values, strict=True)
        return [
            make_model(
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


def expression_of(opened: CollectionHandle, value: Any) -> Expression | None:
    """A filter as an expression. The payload indexes of this collection decide how conditions are
    read."""
    return parse_filter(value, opened.configuration.indexes_by_path)


def retrieve(
    opened: CollectionHandle,
    ids: Sequence[Any],
    with_payload: Any = True,
    with_vectors: Any = False,
) -> list[models.Record]:
    """The points with these ids, in the order of the ids; ids that don't exist are left out."""
    selection = Selection(opened, with_payload, with_vectors)
    points = opened.points.get(ids_to_read(ids), None, None, 0, selection.fields())
    return selection.records(points)


def scroll(
    opened: CollectionHandle,
    scroll_filter: models.Filter | None = None,
    limit: Any = 10,
    order_by: Any = None,
    offset: Any = None,
    with_payload: Any = True,
    with_vectors: Any = False,
) -> tuple[list[models.Record], Any]:
    """A page of points, and the first id of the next page. Points are in the order of ids; with
    `order_by`, in the order of a key, and then there is no next page."""
    if not isinstance(limit, int) or not 1 <= limit <= INT_MAX:
        raise bad_request(f"limit is {describe(limit)}, expected 1 to 2^64-1")
    check_limit(opened, limit)
    check_filter(opened, scroll_filter)
    selection = Selection(opened, with_payload, with_vectors)
    expression = expression_of(opened, scroll_filter)
    if order_by is not None:
        if offset is not None:
            raise wrong("Cannot use an `offset` when using `order_by`: go on with its `start_from`")
        order = parse_order(order_by, opened.configuration.indexes_by_path)
        points, values = opened.points.list_in_order(
            order.at, expression, limit, order.descending, order.start, selection.fields()
        )
        return selection.records(points, values), None
    start = None if offset is None else id_to_read(offset)
    page = opened.points.page(expression, start, limit + 1, selection.fields())
    records = selection.records(page)
    return records[:limit], records[limit].id if len(records) > limit else None


def count(
    opened: CollectionHandle,
    count_filter: models.Filter | None = None,
    exact: bool = True,
    shard_key_selector: Any = None,
) -> models.CountResult:
    """The number of points that fulfil a filter. The number is always exact. It is 0 if the list of
    shard keys is empty."""
    if shard_key_selector == []:
        return models.CountResult(count=0)
    check_shard_key(shard_key_selector)
    check_exact(opened, exact)
    check_filter(opened, count_filter)
    number = opened.points.number(expression_of(opened, count_filter))
    return models.CountResult(count=number)


def facet(
    opened: CollectionHandle,
    key: str,
    facet_filter: models.Filter | None = None,
    limit: Any = 10,
    exact: bool = False,
) -> models.FacetResponse:
    """The values of a key, each with the number of points that have it. The most frequent value
    comes first; values with equal counts are in ascending order."""
    if not isinstance(limit, int) or limit < 1:
        raise bad_request(f"limit is {describe(limit)}, expected 1 or more")
    check_limit(opened, limit)
    check_exact(opened, exact)
    check_filter(opened, facet_filter)
    expression = expression_of(opened, facet_filter)
    parse_path(key)  # which is refused in each case
    try:
        values = parse_facet(key, opened.configuration.indexes_by_path)
    except InvalidFilterError:
        if opened.points.number(None):
            raise
        return models.FacetResponse(hits=[])  # where there are no points, a server asks no index
    counted = opened.points.facet_of((values,), expression, limit)
    budget.take(FACET_HIT * len(counted), "values", len(counted))
    hits = [
        make_model(models.FacetValueHit, {"value": value, "count": number})
        for value, number in counted
    ]
    return models.FacetResponse(hits=hits)
