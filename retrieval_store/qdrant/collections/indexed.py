"""Which payload indexes serve a condition or a formula, as strict mode asks where it allows no
search without one.

An index serves by what it can look up: one of integers may be made for equality or for ranges
alone, one of texts with or without phrases, one of keywords with or without prefixes.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias, get_args

from qdrant_client import models

from retrieval_store.filters.columns import uuid_in
from retrieval_store.filters.paths import Steps
from retrieval_store.qdrant.filters.indexes import Indexes, Schema, kind_of
from retrieval_store.qdrant.filters.paths import parse_path

Match: TypeAlias = Literal["keyword", "prefix", "uuid", "bool", "integer", "text", "phrase", "geo"]
Use: TypeAlias = Match | Literal["range of integers", "range of floats", "range of times"]
EVERY: tuple[Use, ...] = tuple(use for kind in get_args(Use) for use in get_args(kind))
MATCHED: tuple[Use, ...] = ("keyword", "uuid", "bool", "integer")
NUMBERS: tuple[Use, ...] = ("integer", "range of integers", "range of floats")
TIMES: tuple[Use, ...] = ("range of times",)
PLACES: tuple[Use, ...] = ("geo",)


def unserved(given: models.Filter, indexes: Indexes) -> tuple[Steps, Sequence[Use]] | None:
    """A key that a filter asks for, and which uses of an index would serve it, where there is no
    such index; None where all are served."""
    for path, uses in _asked(given, ()):
        if uses and not serves(indexes.get(path), uses):
            return path, uses
    return None


def serves(index: Schema, uses: Sequence[Use]) -> bool:
    """Whether an index has one of these uses."""
    return index is not None and not set(uses).isdisjoint(_uses_of(index))


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


def _asked(given: models.Filter, above: tuple[Any, ...]) -> Iterator[tuple[Steps, Sequence[Use]]]:
    """The keys of a filter, as paths from the top of a payload, and what would serve each. above:
    the path to the lists whose elements are asked for."""
    for one in conditions_of(given):
        match one:
            case models.Filter():
                yield from _asked(one, above)
            case models.NestedCondition(nested=nested):
                path = parse_path(nested.key).into_each()
                yield from _asked(nested.filter, (*above, *path.steps))
            case models.FieldCondition(key=key):
                yield Steps((*above, *parse_path(key).steps)), tuple(_of_field(one))
            case models.IsEmptyCondition(is_empty=of) | models.IsNullCondition(is_null=of):
                yield Steps((*above, *parse_path(of.key).steps)), EVERY


def conditions_of(given: models.Filter) -> list[Any]:
    """The conditions that stand in a filter itself."""
    found: list[Any] = []
    for part in (given.must, given.should, given.must_not):
        if part is not None:
            found += part if isinstance(part, list) else [part]
    if given.min_should is not None:
        found += given.min_should.conditions
    return found


def _of_field(given: models.FieldCondition) -> Iterator[Use]:
    if (given.values_count, given.is_empty, given.is_null) != (None, None, None):
        yield from EVERY
    if given.match is not None:
        yield from _of_match(given.match)
    if isinstance(given.range, models.DatetimeRange):
        yield "range of times"
    elif given.range is not None:
        yield from ("range of floats", "range of integers")
    if (given.geo_bounding_box, given.geo_radius, given.geo_polygon) != (None, None, None):
        yield "geo"


def _of_match(given: Any) -> Sequence[Use]:
    match given:
        case models.MatchValue(value=value):
            return _of_values([value])
        case models.MatchAny(any=values) | models.MatchExcept(except_=values):
            return _of_values(values)
        case models.MatchText() | models.MatchTextAny():
            return ("text",)
        case models.MatchPhrase():
            return ("phrase",)
        case models.MatchPrefix():
            return ("prefix",)
    return ("keyword",)


def _of_values(values: Sequence[Any]) -> Sequence[Use]:
    """No values need no index: nothing is looked up."""
    if not values:
        return ()
    if isinstance(values[0], bool):
        return ("bool",)
    if isinstance(values[0], int):
        return ("integer",)
    return ("uuid", "keyword") if all(uuid_in(str(one)) for one in values) else ("keyword",)
