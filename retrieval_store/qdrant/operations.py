"""Writes points: checks each operation as a whole, and then passes the change to the engine.

A batch of operations is one transaction, so a refused batch writes nothing. Uploads read points
from iterables of any length, one batch at a time.
"""

import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from pydantic import BaseModel
from qdrant_client import models

from retrieval_store.base.arrays import Ints
from retrieval_store.base.validation import Payload, quote
from retrieval_store.errors import NotFoundError
from retrieval_store.filters.expression import Expression
from retrieval_store.qdrant.collections import CollectionHandle, check_shard_key, check_sharding
from retrieval_store.qdrant.read import (
    clear_payload,
    content_of,
    deleting,
    edit_payload,
    expression_of,
    make_model,
    setting,
)
from retrieval_store.qdrant.refusals import (
    Refused,
    bad_request,
    invalid,
    not_found,
    to_write,
    wrong,
)
from retrieval_store.qdrant.strict_mode import check_batch, check_columns, check_filter, check_sizes
from retrieval_store.qdrant.vectors import (
    Columns,
    Selected,
    column_of,
    columns_of,
    id_to_write,
    parse_selector,
    refuse_empty,
    selector_of,
)
from retrieval_store.query.protocols import Changes
from retrieval_store.query.types import (
    Content,
    Fields,
    NonDenseVectors,
    PointBatch,
    PointId,
    Vectors,
    WriteRules,
)

_Parsed: TypeAlias = tuple[list[PointId] | None, Expression | None]


class Operation(NamedTuple):
    """An operation on points. ids: the ids of the points that it can change; None if a filter
    selects the points."""

    change: Callable[[Changes], object]
    ids: Sequence[PointId] | None


def carry_out(opened: CollectionHandle, operation: Operation) -> models.UpdateResult:
    """Execute one operation."""
    return _carry_out_all(opened, [operation])[0]


def _carry_out_all(
    opened: CollectionHandle, operations: Sequence[Operation]
) -> list[models.UpdateResult]:
    """Execute operations in one transaction, and return a result for each."""
    if not operations:
        return []
    check_sharding(opened)
    ids = [operation.ids for operation in operations]
    max_points = (
        None if None in ids else sum(len(ids_of_operation or ()) for ids_of_operation in ids)
    )
    numbers = opened.points.transact(partial(_make_each, operations), max_points)
    return [_result(number) for number in numbers]


def _make_each(operations: Sequence[Operation], changes: Changes) -> list[int]:
    """Add the changes of each operation to `changes`; returns how many changes each operation
    made."""
    numbers = []
    for operation in operations:
        operation.change(changes)
        numbers.append(changes.operation)
    return numbers


def _result(number: int) -> models.UpdateResult:
    return make_model(
        models.UpdateResult,
        {"operation_id": number, "status": models.UpdateStatus.COMPLETED},
    )


def upserting(
    opened: CollectionHandle, points: Any, update_filter: Any = None, update_mode: Any = None
) -> Operation:
    """The operation that inserts points or replaces them as a whole."""
    check_filter(opened, update_filter, updating=True)
    where = expression_of(opened, update_filter)
    ids, columns, payloads = _columns(opened, points)
    if not ids:
        raise wrong("there are no points to write")
    check_batch(opened, len(ids))
    check_columns(opened, columns)
    check_sizes(opened)
    mode = "upsert" if update_mode is None else models.UpdateMode(update_mode).value
    rules = WriteRules(
        "ignore" if mode == "insert_only" else "replace",
        "ignore" if mode == "update_only" else "insert",
        merge_payloads=False,
        where=where,
    )
    contents = [content_of(payload) for payload in payloads]
    batch = PointBatch(
        ids,
        columns,
        [content.payload for content in contents],
        [content.document for content in contents],
        [content.uri for content in contents],
    )
    return Operation(partial(_put, [_drop_repeats(batch)], rules), ids)


def _put(batches: Sequence[PointBatch], rules: WriteRules, changes: Changes) -> None:
    for batch in batches:
        changes.put(batch, rules)


def _columns(opened: CollectionHandle, points: Any) -> tuple[list[PointId], Columns, list[Payload]]:
    """The ids, vectors and payloads of points, which are passed one by one or as a batch."""
    match points:
        case (
            models.PointsBatch(batch=content, shard_key=key)
            | models.PointsList(points=content, shard_key=key)
        ):
            check_shard_key(key)
            points = content
    if isinstance(points, models.Batch):
        return _columns_of_batch(opened, points)
    points = [_point(value, i) for i, value in enumerate(points)]
    ids = [id_to_write(point.id) for point in points]
    payloads = [to_write(point.payload, f"points[{i}].payload") for i, point in enumerate(points)]
    return ids, columns_of(opened, [point.vector for point in points]), payloads


def _point(value: Any, i: int) -> Any:
    if isinstance(value, models.PointStruct) or hasattr(value, "vector"):
        return value
    if isinstance(value, dict):
        return models.PointStruct(**value)
    raise bad_request(f"points[{i}] is {quote(value)}, expected a PointStruct")


def _columns_of_batch(
    opened: CollectionHandle, batch: models.Batch
) -> tuple[list[PointId], Columns, list[Payload]]:
    ids = [id_to_write(point_id) for point_id in batch.ids]
    vectors: Any = batch.vectors
    if isinstance(vectors, dict):
        columns = {}
        for name, column in vectors.items():
            _check_length(f"vectors[{name!r}]", column, len(ids))
            for vector in column if isinstance(column, list) else ():
                refuse_empty(name, vector)
            columns[name] = column_of(opened, name, column, None)
    else:
        _check_length("vectors", vectors, len(ids))
        columns = columns_of(opened, vectors)
    payloads = batch.payloads or [{}] * len(ids)
    _check_length("payloads", payloads, len(ids))
    return ids, columns, [to_write(payload, f"payloads[{i}]") for i, payload in enumerate(payloads)]


def _check_length(name: str, values: Sequence[Any], count: int) -> None:
    if len(values) != count:
        raise bad_request(f"there are {count} ids, but {len(values)} {name}")


def _drop_repeats(batch: PointBatch) -> PointBatch:
    """The batch without repeated ids. Of the points with one id, the last is kept, in every mode of
    update."""
    ids = batch.ids
    if len(set(ids)) == len(ids):
        return batch
    chosen = {point_id: i for i, point_id in enumerate(ids)}
    rows = np.array(sorted(chosen.values()), np.int64)
    return PointBatch(
        [ids[i] for i in rows],
        {
            name: part
            for name, v in batch.vectors.items()
            if (part := _select_vectors(v, rows)) is not None
        },
        *(None if c is None else [c[i] for i in rows] for c in _texts(batch)),
    )


def _texts(batch: PointBatch) -> tuple[Any, ...]:
    return batch.payloads, batch.documents, batch.uris


def _select_vectors(
    vectors: Vectors | NonDenseVectors, rows: Ints
) -> Vectors | NonDenseVectors | None:
    """The vectors of the points at these positions (`rows`); None if none of the points has a
    vector. Positions in the result are positions among the selected points."""
    count = len(vectors.matrix if isinstance(vectors, Vectors) else vectors.items)
    positions = np.arange(count) if vectors.positions is None else vectors.positions
    is_chosen = np.isin(positions, rows)
    if not is_chosen.any():
        return None
    moved = np.searchsorted(rows, positions[is_chosen])
    if isinstance(vectors, Vectors):
        return Vectors(np.ascontiguousarray(vectors.matrix[is_chosen]), moved)
    return NonDenseVectors([vectors.items[i] for i in np.flatnonzero(is_chosen).tolist()], moved)


def updating_vectors(
    opened: CollectionHandle, points: Sequence[Any], update_filter: Any = None
) -> Operation:
    """The operation that replaces the passed vectors of points. A point's other vectors stay."""
    check_filter(opened, update_filter, updating=True)
    where = expression_of(opened, update_filter)
    points = [
        models.PointVectors(**value) if isinstance(value, dict) else value for value in points
    ]
    if not points:
        raise bad_request("there are no points")
    for at, point in enumerate(points):
        if _is_empty_mapping(point.vector):
            raise invalid(f"[points[{at}].vector: must specify vectors to update for point]")
    check_batch(opened, len(points), "update limit")
    check_sizes(opened)
    rules = WriteRules("update", "refuse", where=where)
    batches = [
        PointBatch([id_to_write(point.id) for point in part], _vectors_of(opened, part))
        for part in _without_repeats(points)
    ]
    for batch in batches:
        check_columns(opened, batch.vectors)
    ids = [point_id for batch in batches for point_id in batch.ids]
    return Operation(partial(_put, batches, rules), ids)


def _is_empty_mapping(vectors: Any) -> bool:
    """Whether the vectors are an empty mapping from names to vectors."""
    return isinstance(vectors, Mapping) and not vectors


def _vectors_of(opened: CollectionHandle, points: Sequence[Any]) -> Columns:
    """The vectors of the points. If a vector is invalid and also a point is missing, the error
    names the missing point."""
    try:
        return columns_of(opened, [point.vector for point in points])
    except Refused as refused:
        if refused.status_code == HTTPStatus.BAD_REQUEST:
            point_ids = [id_to_write(point.id) for point in points]
            existing = opened.points.get(point_ids, None, None, 0, Fields()).ids
            if missing := set(point_ids).difference(existing):
                raise not_found(
                    f"Not found: No point with id {min(missing, key=str)} found"
                ) from None
        raise


def _without_repeats(points: Sequence[Any]) -> list[list[Any]]:
    """The points in as few groups as possible, so that no id occurs twice in a group."""
    groups: list[list[Any]] = []
    seen: dict[PointId, int] = {}
    for point in points:
        point_id = id_to_write(point.id)
        group = seen[point_id] = seen.get(point_id, -1) + 1
        if group == len(groups):
            groups.append([])
        groups[group].append(point)
    return groups


def deleting_points(opened: CollectionHandle, points_selector: Any) -> Operation:
    """The operation that deletes points by ids or a filter."""
    ids, expression = _parse_selection(opened, parse_selector(points_selector))
    return Operation(partial(_delete, ids, expression), ids)


def _delete(ids: list[PointId] | None, expression: Expression | None, changes: Changes) -> None:
    changes.delete(ids, expression)


def deleting_vectors(opened: CollectionHandle, vectors: Sequence[str], points: Any) -> Operation:
    """The operation that deletes the vectors with these names."""
    _require_names(vectors)
    return _deleting_vectors(opened, vectors, [points])


def _require_names(vectors: Sequence[str]) -> None:
    if not vectors:
        raise bad_request("vectors is empty, expected names of vectors")


def _deleting_vectors(
    opened: CollectionHandle, vectors: Sequence[str], selectors: Sequence[Any]
) -> Operation:
    """The operation that deletes the vectors with these names from the points of several
    selectors."""
    if isinstance(vectors, str):
        raise bad_request(f"vectors is {vectors!r}, expected a sequence of names")
    chosen = [_parse_selection(opened, parse_selector(selector)) for selector in selectors]
    ids = [point_id for named, _ in chosen for point_id in named or ()]
    is_filtered = any(named is None for named, _ in chosen)
    change = partial(_delete_vectors, opened, vectors, chosen)
    return Operation(change, None if is_filtered else ids)


def _delete_vectors(
    opened: CollectionHandle,
    vectors: Sequence[str],
    chosen: Sequence[_Parsed],
    changes: Changes,
) -> None:
    """Delete these vectors of the points that each item of `chosen` selects. As on a server, an
    unknown vector name is an error only if a point is selected."""
    existing = [name for name in vectors if name in opened.configuration.by_name]
    with _translating_not_found():
        for ids, expression in chosen:
            if changes.delete_vectors(ids, expression, existing, strict=True):
                for name in vectors:
                    opened.vector(name)  # refuses an unknown one


def setting_payload(
    opened: CollectionHandle, payload: Any, points: Any, key: str | None = None
) -> Operation:
    """The operation that sets keys in payloads, or if `key` is given, in the object at this path of
    each payload."""
    chosen = parse_selector(points)
    check_sizes(opened, payloads_alone=True)
    edit = edit_payload(setting(to_write(payload), key))
    return _editing(opened, chosen, edit)


def overwriting_payload(opened: CollectionHandle, payload: Any, points: Any) -> Operation:
    """The operation that replaces payloads."""
    chosen = parse_selector(points)
    check_sizes(opened, payloads_alone=True)
    content = content_of(to_write(payload))
    return _editing(opened, chosen, lambda old: content)


def deleting_payload(opened: CollectionHandle, keys: Sequence[str], points: Any) -> Operation:
    """The operation that deletes the values at these paths from payloads."""
    return _editing(opened, parse_selector(points), edit_payload(deleting(keys)))


def clearing_payload(opened: CollectionHandle, points_selector: Any) -> Operation:
    """The operation that deletes payloads."""
    return _editing(opened, parse_selector(points_selector), clear_payload, strict=False)


def _editing(
    opened: CollectionHandle,
    chosen: Selected,
    edit: Callable[[Content], Content],
    strict: bool = True,
) -> Operation:
    ids, expression = _parse_selection(opened, chosen)
    return Operation(partial(_edit, ids, expression, edit, strict), ids)


def _edit(
    ids: list[PointId] | None,
    expression: Expression | None,
    edit: Callable[[Content], Content],
    strict: bool,
    changes: Changes,
) -> None:
    with _translating_not_found():
        changes.edit(ids, expression, edit, strict)


@contextmanager
def _translating_not_found() -> Iterator[None]:
    """A context manager that converts the error for a missing point to Refused."""
    try:
        yield
    except NotFoundError as error:
        raise not_found(f"Not found: {error}") from error


def _parse_selection(opened: CollectionHandle, chosen: Selected) -> _Parsed:
    ids, filter_ = chosen
    check_filter(opened, filter_, updating=True)
    return ids, expression_of(opened, filter_)


def operation_of(opened: CollectionHandle, value: Any, is_message: bool) -> Operation:
    """The operation that an item of `batch_update_points` describes. is_message: see `batch`."""
    for field in vars(value).values() if isinstance(value, BaseModel) else ():
        check_shard_key(getattr(field, "shard_key", None))
    match value:
        case models.UpsertOperation(upsert=upsert):
            return upserting(opened, upsert, upsert.update_filter, upsert.update_mode)
        case models.DeleteOperation(delete=selector):
            return deleting_points(opened, selector)
        case models.SetPayloadOperation(set_payload=body):
            points = selector_of(body.points, body.filter)
            return setting_payload(opened, body.payload, points, body.key)
        case models.OverwritePayloadOperation(overwrite_payload=body):
            points = selector_of(body.points, body.filter)  # a key means nothing to a server here
            return overwriting_payload(opened, body.payload, points)
        case models.DeletePayloadOperation(delete_payload=body):
            return deleting_payload(opened, body.keys, selector_of(body.points, body.filter))
        case models.ClearPayloadOperation(clear_payload=selector):
            return clearing_payload(opened, selector)
        case models.UpdateVectorsOperation(update_vectors=body):
            return updating_vectors(opened, body.points, body.update_filter)
        case models.DeleteVectorsOperation(delete_vectors=body):
            if not is_message:
                _require_names(body.vector)
            if body.points is None or body.filter is None:
                selector = selector_of(body.points, body.filter)
                return _deleting_vectors(opened, body.vector, [selector])
            return _deleting_vectors(opened, body.vector, [body.filter, body.points])
    raise bad_request(
        f"an operation is {quote(value)}, expected one of qdrant_client.models' operations"
    )


def batch(
    opened: CollectionHandle, update_operations: Iterable[Any], is_message: bool = False
) -> list[models.UpdateResult]:
    """Check and execute all operations of a batch. is_message: whether the batch was received by
    gRPC. There, an operation that deletes vectors may name no vectors, and then deletes nothing."""
    operations = [operation_of(opened, value, is_message) for value in update_operations]
    return _carry_out_all(opened, operations)


def in_batches(points: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """The points in batches of this size."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise bad_request(f"batch_size is {quote(size)}, expected 1 or more")
    rest = iter(points)
    while batch := list(itertools.islice(rest, size)):
        yield batch


def points_of(
    vectors: Any, payloads: Iterable[Any] | None, ids: Iterable[Any] | None
) -> Iterator[models.PointStruct]:
    """Points made from separate vectors, payloads and ids; there are as many points as the shortest
    argument has items. If `ids` is None, UUIDs are generated."""
    given_ids = (str(uuid.uuid4()) for _ in itertools.count()) if ids is None else ids
    given_payloads = itertools.repeat(None) if payloads is None else payloads
    for point_id, vector, payload in zip(
        given_ids, _vectors_by_point(vectors), given_payloads, strict=False
    ):
        # Checked where points are written, so not validated number by number here.
        yield models.PointStruct.model_construct(id=point_id, vector=vector, payload=payload)


def _vectors_by_point(vectors: Any) -> Iterator[Any]:
    """The vectors of each point. If the vectors are passed as a mapping of matrices, each point
    gets one row of every matrix."""
    if isinstance(vectors, Mapping):
        columns = {name: np.asarray(column) for name, column in vectors.items()}
        for rows in zip(*columns.values(), strict=True):
            yield dict(zip(columns, rows, strict=True))
    else:
        yield from vectors
