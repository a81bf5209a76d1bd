"""Strict mode: what the collection's owner doesn't allow, refused before anything is done."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from qdrant_client import models

from retrieval_store.base.arrays import SparseVector
from retrieval_store.interface.points import SpecialVectors, Vectors
from retrieval_store.qdrant.collections.opened import Opened
from retrieval_store.qdrant.refusals import Refused

FORBIDDEN = 400


def _refuse(what: str, value: Any, most: Any, setting: str) -> None:
    raise Refused(FORBIDDEN, f"Forbidden: {what} is {value}, strict mode allows {most} ({setting})")


def check_limit(opened: Opened, limit: int | None) -> None:
    """How many points may be asked for."""
    strict = opened.configuration.strict
    most = strict.max_query_limit
    if most is not None and limit is not None and limit > most:
        _refuse("limit", limit, most, "max_query_limit")


def check_search(opened: Opened, params: models.SearchParams | None) -> None:
    """How a search may look for points."""
    strict = opened.configuration.strict
    if params is None:
        return
    if params.exact and strict.search_allow_exact is False:
        _refuse("exact", True, False, "search_allow_exact")
    oversampling = params.quantization.oversampling if params.quantization else None
    most_sampled = strict.search_max_oversampling
    if most_sampled is not None and oversampling is not None and oversampling > most_sampled:
        _refuse("oversampling", oversampling, most_sampled, "search_max_oversampling")
    most = strict.search_max_hnsw_ef
    if most is not None and params.hnsw_ef is not None and params.hnsw_ef > most:
        _refuse("hnsw_ef", params.hnsw_ef, most, "search_max_hnsw_ef")


def check_batch(opened: Opened, points: int) -> None:
    """How many points may be written at once."""
    strict = opened.configuration.strict
    if strict.upsert_max_batchsize is not None and points > strict.upsert_max_batchsize:
        _refuse("the batch", points, strict.upsert_max_batchsize, "upsert_max_batchsize")


def room_in(opened: Opened) -> Callable[[int], None]:
    """What refuses that there are so many points more than now, all in all."""
    most = opened.configuration.strict.max_points_count
    if most is None:
        return lambda more: None
    room = most - opened.points.number(None)

    def check(more: int) -> None:
        if more > 0 and more > room:
            _refuse("the number of points", most - room + more, most, "max_points_count")

    return check


def check_timeout(opened: Opened, timeout: int | None) -> None:
    """How long a call may take."""
    strict = opened.configuration.strict
    most = strict.max_timeout
    if most is not None and timeout is not None and timeout > most:
        _refuse("timeout", timeout, most, "max_timeout")


def check_filter(opened: Opened, given: Any, updating: bool = False) -> None:
    """What a filter may ask for."""
    strict = opened.configuration.strict
    if given is None:
        return
    conditions = list(_conditions(given))
    most = strict.filter_max_conditions
    if most is not None and len(conditions) > most:
        _refuse("the number of conditions", len(conditions), most, "filter_max_conditions")
    allowed = strict.unindexed_filtering_update if updating else strict.unindexed_filtering_retrieve
    for condition in conditions:
        _check_condition(opened, strict, condition, allowed is not False)


def _check_condition(
    opened: Opened, strict: models.StrictModeConfig, condition: Any, unindexed: bool
) -> None:
    size, most = _size(condition), strict.condition_max_size
    if most is not None and size > most:
        _refuse("the number of values in a condition", size, most, "condition_max_size")
    key = getattr(condition, "key", None)
    if not unindexed and key is not None and key not in opened.configuration.indexes:
        raise Refused(
            FORBIDDEN,
            f'Bad request: Index required but not found for "{key}": create one, or allow '
            "unindexed filtering in strict mode",
        )


def _conditions(given: Any) -> Iterator[Any]:
    if isinstance(given, models.Filter):
        for part in (given.must, given.should, given.must_not):
            for one in part if isinstance(part, list) else [part]:
                yield from _conditions(one)
        if given.min_should is not None:
            for one in given.min_should.conditions:
                yield from _conditions(one)
    elif isinstance(given, models.NestedCondition):
        yield from _conditions(given.nested.filter)
    elif given is not None:
        yield given


def _size(condition: Any) -> int:
    match = getattr(condition, "match", None)
    values = getattr(match, "any", None) or getattr(match, "except_", None)
    return len(values or getattr(condition, "has_id", None) or ())


def check_searches(opened: Opened, count: int) -> None:
    """How many queries a batch may have."""
    most = opened.configuration.strict.search_max_batchsize
    if most is not None and count > most:
        _refuse("the batch", count, most, "search_max_batchsize")


def check_columns(opened: Opened, columns: Mapping[str, Vectors | SpecialVectors]) -> None:
    """How long sparse vectors may be, and how many several ones of a point."""
    strict = opened.configuration.strict
    for name, column in columns.items():
        if not isinstance(column, SpecialVectors):
            continue
        sparse = (strict.sparse_config or {}).get(name)
        several = (strict.multivector_config or {}).get(name)
        for item in column.items:
            if isinstance(item, SparseVector):
                _check_length(sparse.max_length if sparse else None, len(item.indices))
            else:
                _check_length(several.max_vectors if several else None, len(item))


def _check_length(most: int | None, length: int) -> None:
    if most is not None and length > most:
        _refuse("the length of a vector", length, most, "max_length, max_vectors")


def check_bytes(opened: Opened) -> None:
    """How many bytes vectors and payloads may take."""
    most = opened.configuration.strict.max_collection_payload_size_bytes
    if most is not None:
        disk: Any = opened.points.stats().get("disk")
        if disk and disk["points"] > most:
            setting = "max_collection_payload_size_bytes"
            _refuse("the size of the points", disk["points"], most, setting)
    _check_vector_bytes(opened)


def _check_vector_bytes(opened: Opened) -> None:
    strict = opened.configuration.strict
    most = strict.max_collection_vector_size_bytes
    if most is not None:
        held = sum(_bytes(space) for space in opened.points.spaces())
        if held > most:
            _refuse("the size of the vectors", held, most, "max_collection_vector_size_bytes")


def _bytes(space: Any) -> int:
    width = {"float32": 4, "float16": 2, "uint8": 1}[space.datatype]
    return int(space.count * (space.dimension or 0) * width)


def check_indexes(opened: Opened, key: str) -> None:
    """How many payload indexes there may be."""
    strict = opened.configuration.strict
    most = strict.max_payload_index_count
    there = len(opened.configuration.indexes.keys() | {key})
    if most is not None and there > most:
        _refuse("the number of payload indexes", there, most, "max_payload_index_count")
