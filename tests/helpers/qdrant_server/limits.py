"""What a server refuses because of its age, or since a collection is in strict mode."""

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
VECTOR_NAMES: Version = (1, 18)  # with which vectors can be added to a collection
METADATA: Version = (1, 16)  # that keeps them with a collection
ALL = ("bool", "datetime", "float", "geo", "integer", "keyword", "text", "uuid")


def filters_in(request: Any) -> Iterator[models.Filter]:
    """All filters of a request, wherever in it they stand; not those inside of filters."""
    if isinstance(request, models.Filter):
        yield request
    elif isinstance(request, BaseModel):
        for _, value in request:
            yield from filters_in(value)
    elif isinstance(request, list) and request and not isinstance(request[0], float | int):
        for one in request:
            yield from filters_in(one)


def leaves(given: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The conditions of a filter that aren't made of others, and the key of the list in which they
    stand."""
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
    """The leaves of all its filters."""
    return [pair for one in filters_in(request) for pair in leaves(one)]


def refuse_newer(request: Any, version: Version) -> None:
    """Raise RefusedError for a condition that a server of this version doesn't know."""
    for _, leaf in conditions(request):
        newer = isinstance(getattr(leaf, "match", None), models.MatchSubstring)
        if newer and version < SUBSTRINGS:
            raise malformed("data did not match any variant of untagged enum MatchInterface")


def read_as(request: Any, version: Version, collection: Collection) -> None:
    """Make of the request what a server of this version understands by it: one before 1.20 finds
    substrings where a text is asked for and there is no index of texts."""
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
    """Raise RefusedError for what the strict mode of the collection doesn't allow."""
    strict = collection.config.get("strict_mode_config", {})
    if not strict.get("enabled"):
        return
    found = conditions(request)
    _refuse_more(strict, "filter_max_conditions", len(found), "filter conditions")
    _refuse_more(strict, "max_query_limit", _limit(request), "limit")
    _refuse_more(strict, "upsert_max_batchsize", _upserted(request), "upsert limit")
    which = "unindexed_filtering_update" if writes else "unindexed_filtering_retrieve"
    if strict.get(which) is False:
        _refuse_without_index(collection, found)


def _refuse_more(strict: dict[str, Any], name: str, given: int, what: str) -> None:
    most = strict.get(name)
    if most is not None and given > most:
        raise refused(
            400, f'Bad request: Limit exceeded {given} > {most} for "{what}". Help: Reduce it.'
        )


def _limit(request: Any) -> int:
    parts = [request, *listed(getattr(request, "searches", None))]
    return max(getattr(part, "limit", None) or 0 for part in parts)


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
    """The key of a condition, and the kinds of index that serve it; none for one that needs none."""
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
    """Whether an index of the right kind has what the condition needs of it."""
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
