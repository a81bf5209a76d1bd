"""Strict mode: refuses requests beyond the limits that the collection's owner has set.

If strict mode allows no search without a payload index, `serves` decides whether an index serves a
condition or a formula. That depends on the lookups that the index supports: an index of integers
may support only equality or only ranges, an index of texts may lack phrases, and an index of
keywords may lack prefixes.

Before each write, the size of the collection is compared with limits (`check_sizes`). As on a
server, a size is measured when this process creates the collection or first writes to it, and again
at every 32nd write. To measure it for each write would cost more than the write.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from qdrant_client import models

from retrieval_store.base.arrays import SparseVector
from retrieval_store.filters.columns import uuid_in
from retrieval_store.filters.paths import JsonPath
from retrieval_store.qdrant.collections import CollectionHandle
from retrieval_store.qdrant.config import hnsw_of
from retrieval_store.qdrant.payload_indexes import Indexes, Schema, kind_of, parse_path
from retrieval_store.qdrant.refusals import Refused
from retrieval_store.query.types import NonDenseVectors, Vectors

Match: TypeAlias = Literal["keyword", "prefix", "uuid", "bool", "integer", "text", "phrase", "geo"]
Use: TypeAlias = Match | Literal["range of integers", "range of floats", "range of times"]
ALL_USES: tuple[Use, ...] = tuple(use for kind in get_args(Use) for use in get_args(kind))
MATCHED: tuple[Use, ...] = ("keyword", "uuid", "bool", "integer")
NUMBERS: tuple[Use, ...] = ("integer", "range of integers", "range of floats")
TIMES: tuple[Use, ...] = ("range of times",)
GEO_USES: tuple[Use, ...] = ("geo",)


def unindexed_key(
    filter_: models.Filter, indexes: Indexes
) -> tuple[JsonPath, Sequence[Use]] | None:
    """The first key in a filter that has no suitable index, and the uses for which an index would
    be suitable: it must support one of them. None if every key has a suitable index."""
    for path, uses in _keys_and_uses(filter_, ()):
        if uses and not serves(indexes.get(path), uses):
            return path, uses
    return None


def serves(index: Schema, uses: Sequence[Use]) -> bool:
    """Whether an index supports one of these uses."""
    return not set(uses).isdisjoint(_uses_of(index))


def _uses_of(index: Schema) -> set[Use]:
    match kind_of(index):
        case "keyword":
            return {"keyword", "prefix"} if getattr(index, "prefix", None) else {"keyword"}
        case "integer":
            uses: set[Use] = set()
            if getattr(index, "lookup", None) is not False:
                uses.add("integer")
            return uses if getattr(index, "range", None) is False else {*uses, "range of integers"}
        case "text":
            return {"text", "phrase"} if getattr(index, "phrase_matching", None) else {"text"}
        case "float":
            return {"range of floats"}
        case "datetime":
            return {"range of times"}
        case "uuid" | "bool" | "geo" as kind:
            return {kind}
    return set()


def _keys_and_uses(
    filter_: models.Filter, above: tuple[Any, ...]
) -> Iterator[tuple[JsonPath, Sequence[Use]]]:
    """Yield each key in a filter, as a path from the top of a payload, with the uses for which an
    index on the key is suitable: it must support one of them. above: the path to the lists to whose
    elements the filter applies."""
    for condition in conditions_of(filter_):
        match condition:
            case models.Filter():
                yield from _keys_and_uses(condition, above)
            case models.NestedCondition(nested=nested):
                path = parse_path(nested.key).into_each()
                yield from _keys_and_uses(nested.filter, (*above, *path.steps))
            case models.FieldCondition(key=key):
                yield JsonPath((*above, *parse_path(key).steps)), tuple(_uses_of_field(condition))
            case (
                models.IsEmptyCondition(is_empty=payload_field)
                | models.IsNullCondition(is_null=payload_field)
            ):
                yield JsonPath((*above, *parse_path(payload_field.key).steps)), ALL_USES


def conditions_of(filter_: models.Filter) -> list[Any]:
    """The conditions that a filter contains itself, without those of nested filters."""
    conditions: list[Any] = []
    for part in (filter_.must, filter_.should, filter_.must_not):
        if part is not None:
            conditions += part if isinstance(part, list) else [part]
    if filter_.min_should is not None:
        conditions += filter_.min_should.conditions
    return conditions


def _uses_of_field(condition: models.FieldCondition) -> Iterator[Use]:
    if (condition.values_count, condition.is_empty, condition.is_null) != (None, None, None):
        yield from ALL_USES
    if condition.match is not None:
        yield from _uses_of_match(condition.match)
    if isinstance(condition.range, models.DatetimeRange):
        yield "range of times"
    elif condition.range is not None:
        yield from ("range of floats", "range of integers")
    if (condition.geo_bounding_box, condition.geo_radius, condition.geo_polygon) != (
        None,
        None,
        None,
    ):
        yield "geo"


def _uses_of_match(operand: Any) -> Sequence[Use]:
    match operand:
        case models.MatchValue(value=value):
            return _uses_of_values([value])
        case models.MatchAny(any=values) | models.MatchExcept(except_=values):
            return _uses_of_values(values)
        case models.MatchText() | models.MatchTextAny():
            return ("text",)
        case models.MatchPhrase():
            return ("phrase",)
        case models.MatchPrefix():
            return ("prefix",)
    return ("keyword",)


def _uses_of_values(values: Sequence[Any]) -> Sequence[Use]:
    """The uses of an index for a match with these values. Empty for an empty list, since such a
    match looks up nothing."""
    if not values:
        return ()
    if isinstance(values[0], bool):
        return ("bool",)
    if isinstance(values[0], int):
        return ("integer",)
    return ("uuid", "keyword") if all(uuid_in(str(value)) for value in values) else ("keyword",)


STRICT_MODE_STATUS = 400
MEASURED_EACH = 32
MAX_MEASURED = 1024  # collections


def _refuse(reason: str, what_helps: str, setting: str) -> None:
    """Raise Refused with a server's message, because programs search for these texts."""
    raise Refused(STRICT_MODE_STATUS, f"Forbidden: {reason}. Help: {what_helps} ({setting})")


def _check_most(opened: CollectionHandle, setting: str, limit_name: str, value: Any) -> None:
    """Raise Refused if a value is greater than the setting. limit_name: the name of the limit in a
    server's message."""
    maximum = getattr(opened.configuration.strict, setting)
    if maximum is not None and value is not None and value > maximum:
        reason = f'Limit exceeded {value} > {maximum} for "{limit_name}"'
        _refuse(reason, f"have {maximum} at most", setting)


def check_limit(opened: CollectionHandle, limit: int | None) -> None:
    """Raise Refused if a call returns more points than allowed."""
    _check_most(opened, "max_query_limit", "limit", limit)


def check_search(opened: CollectionHandle, params: models.SearchParams | None) -> None:
    """Raise Refused for parameters of a search that are not allowed."""
    if params is None:
        return
    check_exact(opened, params.exact)
    oversampling = params.quantization.oversampling if params.quantization else None
    _check_most(opened, "search_max_oversampling", "oversampling", oversampling)
    _check_most(opened, "search_max_hnsw_ef", "hnsw_ef", params.hnsw_ef)


def check_batch(opened: CollectionHandle, points: int, limit_name: str = "upsert limit") -> None:
    """Raise Refused if a call writes more points than allowed. limit_name: the name of the limit in
    a server's message."""
    _check_most(opened, "upsert_max_batchsize", limit_name, points)


def check_timeout(opened: CollectionHandle, timeout: int | None) -> None:
    """Raise Refused if the timeout is longer than allowed."""
    _check_most(opened, "max_timeout", "timeout", timeout)


def check_exact(opened: CollectionHandle, exact: bool | None) -> None:
    """Raise Refused for an exact search or count if these are not allowed."""
    if exact and opened.configuration.strict.search_allow_exact is False:
        _refuse("Exact search disabled!", "set exact=false", "search_allow_exact")


def check_scan(opened: CollectionHandle, name: str, value: Any) -> None:
    """Raise Refused if vectors would be searched without a graph, and searches without a graph are
    not allowed. A space with m=0 has no graph. With a graph for each tenant, the filter must name
    the tenant."""
    if opened.configuration.strict.search_allow_exact is not False:
        return
    vector, graph = opened.configuration.by_name.get(name), hnsw_of(opened.configuration, name)
    if vector is None or vector.kind == "sparse" or graph.get("m") != 0:
        return
    if not graph.get("payload_m") or not _names_a_tenant(opened, value):
        raise Refused(
            STRICT_MODE_STATUS,
            f"Forbidden: Request is forbidden on '{name}' because global vector indexing is "
            "disabled (hnsw_config.m = 0). Help: Use tenant-specific filter, enable global vector "
            "indexing or enable strict mode `search_allow_exact` option",
        )


def _names_a_tenant(opened: CollectionHandle, value: Any) -> bool:
    keys = (getattr(condition, "key", None) for condition in conditions_in(value))
    indexes = opened.configuration.indexes
    return any(getattr(indexes.get(key or ""), "is_tenant", None) for key in keys)


def check_filter(opened: CollectionHandle, value: Any, updating: bool = False) -> None:
    """Raise Refused for a filter that is not allowed."""
    strict = opened.configuration.strict
    if value is None or not strict.enabled:
        return
    conditions = conditions_in(value)
    maximum = strict.filter_max_conditions
    if maximum is not None and len(conditions) > maximum:
        reason = f"Filter condition limit reached ({len(conditions)} > {maximum})"
        _refuse(reason, "have fewer conditions", "filter_max_conditions")
    for condition in conditions:
        _check_condition(strict, condition)
    allowed = strict.unindexed_filtering_update if updating else strict.unindexed_filtering_retrieve
    if allowed is False and isinstance(value, models.Filter):
        key_and_uses = unindexed_key(value, opened.configuration.indexes_by_path)
        if key_and_uses is not None:
            _refuse_unindexed(*key_and_uses, "filter")


def _check_condition(strict: models.StrictModeConfig, condition: Any) -> None:
    size, maximum = _size(condition), strict.condition_max_size
    if maximum is not None and size > maximum:
        reason = f"Condition size limit reached ({size} > {maximum})"
        _refuse(reason, "have fewer values in a condition", "condition_max_size")
    if isinstance(getattr(condition, "match", None), models.MatchSubstring):
        raise Refused(
            STRICT_MODE_STATUS,
            f"Forbidden: a substring is asked for at {condition.key!r}, for which every value is "
            "looked at; in strict mode, match a prefix or a text instead",
        )


def check_key(opened: CollectionHandle, key: str, uses: Sequence[Use], instead: str) -> None:
    """Raise Refused for a key that is used outside of filters, if strict mode requires an index on
    the key, and no index is suitable. uses: an index is suitable if it supports one of these uses;
    instead: another solution, for the message."""
    lacking = _lacking_index(opened, key, uses)
    if lacking is not None:
        _refuse_unindexed(lacking, uses, instead)


def check_group_key(opened: CollectionHandle, key: str) -> None:
    """Raise Refused for a key by which hits are grouped, if strict mode requires an index on the
    key, and no index is suitable."""
    lacking = _lacking_index(opened, key, MATCHED)
    if lacking is None:
        return
    index = opened.configuration.indexes_by_path.get(lacking)
    reason = "Index required but not found"
    if index is not None:
        reason = f'Index of type "{str(kind_of(index)).capitalize()}" found'
    raise Refused(
        STRICT_MODE_STATUS,
        f'Bad request: {reason} for "{lacking}". Help: Create an index supporting `match` for this '
        "key.",
    )


def _lacking_index(opened: CollectionHandle, key: str, uses: Sequence[Use]) -> JsonPath | None:
    """The path of a key that lacks an index that strict mode requires; otherwise None. uses: an
    index is suitable if it supports one of these uses."""
    if opened.configuration.strict.unindexed_filtering_retrieve is not False:
        return None
    path = parse_path(key)
    return None if serves(opened.configuration.indexes_by_path.get(path), uses) else path


def _refuse_unindexed(path: JsonPath, uses: Sequence[Use], instead: str) -> None:
    raise Refused(
        STRICT_MODE_STATUS,
        f'Bad request: Index required but not found for "{path}" of one of the following types: '
        f"[{', '.join(uses)}]. Help: Create an index for this key or use a different {instead}.",
    )


def conditions_in(value: Any) -> list[Any]:
    """All conditions of a filter, including those of nested filters."""
    conditions: list[Any] = []
    _collect(value, conditions)
    return conditions


def _collect(value: Any, conditions: list[Any]) -> None:
    if isinstance(value, models.Filter):
        for condition in conditions_of(value):
            _collect(condition, conditions)
    elif isinstance(value, models.NestedCondition):
        _collect(value.nested.filter, conditions)
    elif value is not None:
        conditions.append(value)


def _size(condition: Any) -> int:
    match = getattr(condition, "match", None)
    values = getattr(match, "any", None) or getattr(match, "except_", None)
    return len(values or getattr(condition, "has_id", None) or ())


def check_searches(opened: CollectionHandle, count: int) -> None:
    """Raise Refused if a batch has more queries than allowed."""
    _check_most(opened, "search_max_batchsize", "search batch size", count)


def check_columns(
    opened: CollectionHandle, columns: Mapping[str, Vectors | NonDenseVectors]
) -> None:
    """Raise Refused for sparse vectors with more numbers, or multivectors with more vectors, than
    allowed."""
    strict = opened.configuration.strict
    for name, column in columns.items():
        if not isinstance(column, NonDenseVectors):
            continue
        sparse = (strict.sparse_config or {}).get(name)
        several = (strict.multivector_config or {}).get(name)
        for item in column.items:
            if isinstance(item, SparseVector):
                maximum, length = sparse.max_length if sparse else None, len(item.indices)
                if maximum is not None and length > maximum:
                    reason = f"Sparse vector '{name}' has a limit of {maximum} indices"
                    _refuse_long(reason, length, "max_length")
            else:
                maximum, length = several.max_vectors if several else None, len(item)
                if maximum is not None and length > maximum:
                    reason = f"Multivector '{name}' has a limit of {maximum} vectors"
                    _refuse_long(reason, length, "max_vectors")


def _refuse_long(reason: str, length: int, setting: str) -> None:
    _refuse(f"{reason}, but {length} were provided!", "have fewer", setting)


def check_sizes(opened: CollectionHandle, payloads_alone: bool = False) -> None:
    """Raise Refused if the collection is too large for another write. payloads_alone: whether the
    write contains only payloads."""
    strict = opened.configuration.strict
    limits = {
        "max_collection_payload_size_bytes": strict.max_collection_payload_size_bytes,
        "max_collection_vector_size_bytes": strict.max_collection_vector_size_bytes,
        "max_points_count": strict.max_points_count,
    }
    checked = [*limits][:1] if payloads_alone else [*limits]
    if all(limits[setting] is None for setting in checked):
        return
    size = SIZES.of(opened)
    sizes = dict(zip(limits, (size.payloads, size.vectors, size.points), strict=True))
    for setting in checked:
        maximum = limits[setting]
        if maximum is not None and sizes[setting] >= maximum:
            reason = _REASONS_OF_SIZES[setting].format(maximum, maximum / 1_000_000)
            _refuse(f"{reason} reached!", "delete points", setting)


_REASONS_OF_SIZES = {
    "max_collection_payload_size_bytes": "Max payload storage size limit of {1:g}MB",
    "max_collection_vector_size_bytes": "Max vector storage size limit of {1:g}MB",
    "max_points_count": "Max points count limit of {0}",
}


def check_indexes(opened: CollectionHandle, key: str) -> None:
    """Raise Refused if an index on this key would be one more than allowed."""
    strict = opened.configuration.strict
    maximum = strict.max_payload_index_count
    count = len(opened.configuration.indexes.keys() | {key})
    if maximum is not None and count > maximum:
        reason = f"Collection already has the maximum number of payload indices ({maximum})"
        what_helps = "Please delete an existing index before creating a new one."
        raise Refused(STRICT_MODE_STATUS, f"Forbidden: {reason}. Help: {what_helps}")


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a collection: the number of points, the bytes of its vectors, and the bytes of
    the file with payloads."""

    points: int = 0
    vectors: int = 0
    payloads: int = 0


class _Sizes:
    """The sizes of collections that this process has measured, and how often each size was used
    since it was measured. There is no lock: if two threads use a size at the same time, the two
    uses may be counted as one."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, Size]] = {}

    def begin(self, collection: str) -> None:
        """Record that a collection was created, and is empty."""
        self._keep(collection, 1, Size())

    def of(self, opened: CollectionHandle) -> Size:
        """The size of a collection, as last measured."""
        times, size = self._known.get(opened.record.id, (0, Size()))
        if times % MEASURED_EACH == 0:
            size = _measure_collection(opened)
        self._keep(opened.record.id, times + 1, size)
        return size

    def _keep(self, collection: str, times: int, size: Size) -> None:
        if len(self._known) >= MAX_MEASURED and collection not in self._known:
            self._known.clear()
        self._known[collection] = times, size


SIZES = _Sizes()


def _measure_collection(opened: CollectionHandle) -> Size:
    disk: Any = opened.points.stats().get("disk") or {}
    vectors = sum(_bytes(space) for space in opened.points.spaces())
    return Size(opened.points.number(None), vectors, disk.get("points", 0))


def _bytes(space: Any) -> int:
    return int(space.count * (space.dimension or 0) * np.dtype(space.datatype).itemsize)
