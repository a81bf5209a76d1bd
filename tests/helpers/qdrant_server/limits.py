"""What a server refuses because of its version, or because a collection is in strict mode."""

import uuid
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from qdrant_client.http import models

from tests.helpers.qdrant_server.collection import Collection
from tests.helpers.qdrant_server.edge_models import listed, parsed
from tests.helpers.qdrant_server.refusals import malformed, refused

Version = tuple[int, int]
SUBSTRINGS: Version = (1, 20)  # the first that knows how to match them
ALL = ("bool", "datetime", "float", "geo", "integer", "keyword", "text", "uuid")


def filters_in(request: Any) -> Iterator[models.Filter]:
    """All filters of a request, at any place; without filters inside filters."""
    if isinstance(request, models.Filter):
        yield request
    elif isinstance(request, BaseModel):
        for _, value in request:
            yield from filters_in(value)
    elif isinstance(request, list) and request and not isinstance(request[0], float | int):
        for one in request:
            yield from filters_in(one)


def leaves(given: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The simple conditions of a filter, each with the key of its list."""
    if isinstance(given, models.Filter):
        least = given.min_should.conditions if given.min_should else []
        for part in (given.must, given.should, given.must_not, least):
            for one in listed(part):
                yield from leaves(one, prefix)
    elif isinstance(given, models.NestedCondition):
        yield from leaves(given.nested.filter, f"{prefix}{given.nested.key.removesuffix('[]')}[].")
    else:
        yield prefix, given


def conditions(request: Any) -> list[tuple[str, Any]]:
    """The simple conditions of all filters of a request."""
    return [pair for one in filters_in(request) for pair in leaves(one)]


def refuse_newer(request: Any, version: Version) -> None:
    """Raise RefusedError for a condition that a server of this version doesn't know."""
    for _, leaf in conditions(request):
        newer = isinstance(getattr(leaf, "match", None), models.MatchSubstring)
        if newer and version < SUBSTRINGS:
            raise malformed("data did not match any variant of untagged enum MatchInterface")


def read_as(request: Any, version: Version, collection: Collection) -> None:
    """Change the request to what a server of this version understands. Before 1.20, a match of a
    text without a text index finds substrings."""
    texts = [
        (parsed(prefix + leaf.key), leaf)
        for prefix, leaf in conditions(request)
        if isinstance(getattr(leaf, "match", None), models.MatchText)
    ]
    if version >= SUBSTRINGS or not texts:
        return
    kinds = {parsed(key): one["data_type"] for key, one in collection.indexes().items()}
    for key, leaf in texts:
        if kinds.get(key) != "text":
            leaf.match = models.MatchSubstring(substring=leaf.match.text)


def refuse_beyond_strict(collection: Collection, request: Any, writes: bool) -> None:
    """Raise RefusedError for a request that the collection's strict mode doesn't allow."""
    strict = collection.config.get("strict_mode_config", {})
    if not strict.get("enabled"):
        return
    found = conditions(request)
    for one in filters_in(request):
        _refuse_more(strict, "filter_max_conditions", len(list(leaves(one))), "filter conditions")
    largest = max((_size(leaf) for _, leaf in found), default=0)
    _refuse_more(strict, "condition_max_size", largest, "condition size")
    _refuse_more(strict, "max_query_limit", _limit(request), "limit")
    searches = len(listed(getattr(request, "searches", None)))
    _refuse_more(strict, "search_max_batchsize", searches, "batch size")
    _refuse_more(strict, "upsert_max_batchsize", _upserted(request), "upsert limit")
    _refuse_long(strict, request)
    _refuse_searches(collection, strict, request)
    if writes:
        _refuse_full(collection, strict, request)
    which = "unindexed_filtering_update" if writes else "unindexed_filtering_retrieve"
    if strict.get(which) is False:
        _refuse_without_index(collection, found)


def refuse_more_indexes(collection: Collection, key: str) -> None:
    """Raise RefusedError for a payload index beyond the limit."""
    strict = collection.config.get("strict_mode_config", {})
    there = {parsed(one) for one in collection.indexes()} | {parsed(key)}
    if strict.get("enabled"):
        _refuse_more(strict, "max_payload_index_count", len(there), "payload index count")


def _refuse_more(strict: dict[str, Any], name: str, given: float, what: str) -> None:
    most = strict.get(name)
    if most is not None and given > most:
        raise refused(
            400, f'Bad request: Limit exceeded {given} > {most} for "{what}". Help: Reduce it.'
        )


def _limit(request: Any) -> int:
    """The greatest number of points requested by a step of a query, or in groups."""
    parts = [
        *listed(getattr(request, "searches", None)),
        *listed(getattr(request, "prefetch", None)),
    ]
    groups = getattr(request, "group_size", None) or 1
    own = (getattr(request, "limit", None) or 0) * groups
    return max([own, *map(_limit, parts)])


def _size(leaf: Any) -> int:
    match = getattr(leaf, "match", None)
    values = getattr(match, "any", None) or getattr(match, "except_", None)
    return len(values or getattr(leaf, "has_id", None) or ())


def _searches(request: Any) -> Iterator[Any]:
    """All steps of all queries."""
    for one in listed(getattr(request, "searches", None)) or [request]:
        yield one
        for inner in listed(getattr(one, "prefetch", None)):
            yield from _searches(inner)


def _refuse_searches(collection: Collection, strict: dict[str, Any], request: Any) -> None:
    """Raise RefusedError for search parameters that strict mode doesn't allow."""
    scans = [name for name, one in _graphs(collection).items() if one == 0]
    for one in _searches(request):
        params = getattr(one, "params", None) or models.SearchParams()
        exact = params.exact or (getattr(one, "exact", None) is True)
        using = getattr(one, "using", None) or ""
        scanned = getattr(one, "query", None) is not None and using in scans
        if strict.get("search_allow_exact") is False and (exact or scanned):
            raise refused(400, "Bad request: Exact search is not allowed. Help: Set exact=false.")
        _refuse_more(strict, "search_max_hnsw_ef", params.hnsw_ef or 0, "hnsw_ef")
        sampled = (params.quantization and params.quantization.oversampling) or 0
        _refuse_more(strict, "search_max_oversampling", sampled, "oversampling")


def _graphs(collection: Collection) -> dict[str, int]:
    """The number of links of each dense vector's graph."""
    usual = collection.config["hnsw_config"].get("m")
    vectors = collection.config["params"]["vectors"]
    return {name: one.get("hnsw_config", {}).get("m", usual) for name, one in vectors.items()}


def _points(request: Any) -> Iterator[Any]:
    """The written points, whole or with vectors only."""
    for one in [request, *(next(iter(o))[1] for o in getattr(request, "operations", []))]:
        if isinstance(one, models.UpdateVectors | models.PointsList):
            yield from one.points
        elif isinstance(one, models.PointsBatch):
            yield models.PointVectors(id=0, vector={})


def _refuse_long(strict: dict[str, Any], request: Any) -> None:
    """Raise RefusedError for sparse vectors with too many numbers, and too many vectors in a
    multivector."""
    sparse, several = strict.get("sparse_config", {}), strict.get("multivector_config", {})
    for point in _points(request) if sparse or several else ():
        for name, vector in (point.vector if isinstance(point.vector, dict) else {}).items():
            if isinstance(vector, models.SparseVector):
                length = len(vector.indices)
                _refuse_more(sparse.get(name, {}), "max_length", length, "sparse vector limit")
            elif isinstance(vector, list) and isinstance(vector[0], list):
                _refuse_more(several.get(name, {}), "max_vectors", len(vector), "multivector limit")


def _refuse_full(collection: Collection, strict: dict[str, Any], request: Any) -> None:
    """Raise RefusedError for new points in a full collection."""
    most = strict.get("max_points_count")
    if most is not None and _upserted(request) and collection.measured() >= most:
        raise refused(400, f"Bad request: Max points count limit of {most} reached. Help: Delete.")


def _upserted(request: Any) -> int:
    upserts = [getattr(one, "upsert", None) for one in getattr(request, "operations", [])]
    return max((_length(one) for one in [request, *upserts]), default=0)


def _length(upsert: Any) -> int:
    if isinstance(upsert, models.PointsList):
        return len(upsert.points)
    return len(upsert.batch.ids) if isinstance(upsert, models.PointsBatch) else 0


def _refuse_without_index(collection: Collection, found: list[tuple[str, Any]]) -> None:
    indexes = {parsed(key): one for key, one in collection.indexes().items()}
    for prefix, leaf in found:
        key, kinds = _needed(leaf)
        if not kinds:
            continue
        index = indexes.get(parsed(prefix + key))
        if index is None or index["data_type"] not in kinds or not _serves(index, leaf):
            raise refused(
                400,
                f'Bad request: Index required but not found for "{prefix}{key}" of one of the '
                f"following types: [{', '.join(kinds)}]. Help: Create an index for this key or use "
                "a different filter.",
            )


def _needed(leaf: Any) -> tuple[str, tuple[str, ...]]:
    """The key of a condition, and the kinds of index that serve it; none if it needs no index."""
    match leaf:
        case models.IsEmptyCondition(is_empty=field) | models.IsNullCondition(is_null=field):
            return field.key, ALL
        case models.FieldCondition(match=None, range=None):
            around = (leaf.geo_bounding_box, leaf.geo_radius, leaf.geo_polygon)
            return leaf.key, ALL if not any(around) else ("geo",)
        case models.FieldCondition(range=models.Range()):
            return leaf.key, ("float", "integer")
        case models.FieldCondition(range=models.DatetimeRange()):
            return leaf.key, ("datetime",)
        case models.FieldCondition(match=match):
            return leaf.key, _matching(match)
    return "", ()


def _matching(match: Any) -> tuple[str, ...]:
    match match:
        case models.MatchSubstring() | models.MatchPrefix():
            return ("keyword",)
        case models.MatchText() | models.MatchTextAny() | models.MatchPhrase():
            return ("text",)
    ((_, value),) = match
    return _equal_to(listed(value))


def _equal_to(values: list[Any]) -> tuple[str, ...]:
    if not values:
        return ()
    if isinstance(values[0], bool):
        return ("bool",)
    if isinstance(values[0], int):
        return ("integer",)
    return ("keyword", "uuid") if all(map(_is_uuid, values)) else ("keyword",)


def _is_uuid(text: str) -> bool:
    try:
        return bool(uuid.UUID(text))
    except ValueError:
        return False


def _serves(index: dict[str, Any], leaf: Any) -> bool:
    """Whether an index of the right kind has the parameters that the condition needs."""
    params, match = index.get("params", {}), getattr(leaf, "match", None)
    if isinstance(match, models.MatchSubstring | models.MatchPrefix):
        return False
    if index["data_type"] == "integer" and getattr(leaf, "range", None):
        return bool(params.get("range", True))
    if index["data_type"] == "integer" and match:
        return bool(params.get("lookup", True))
    if isinstance(match, models.MatchPhrase):
        return bool(params.get("phrase_matching", False))
    return True
