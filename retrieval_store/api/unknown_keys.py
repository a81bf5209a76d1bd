"""Warnings about filters that no record can fulfil, because a key is unknown, or because its values
have another type.
"""

from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from retrieval_store.base.tracing import log_of
from retrieval_store.base.validation import shorten
from retrieval_store.errors import InvalidFilterError, RetrievalStoreError
from retrieval_store.filters.leaves import ValueLeaf
from retrieval_store.filters.nodes import And, AtLeast, Expression, Or, Scalar
from retrieval_store.filters.paths import EACH, JsonPath, PayloadPath, split_dotted
from retrieval_store.filters.values import Exists, ListHas, OneOf, Range, TextLeaf, TextRange
from retrieval_store.query.protocols import EnginePoints, PointsBackend
from retrieval_store.query.types import Fields

MAX_KEYS = 20  # of a filter that are looked at
MAX_SEEN = 1_000  # of a collection that are remembered; later ones get no warning
ANY = "anything"
_log = log_of()


@dataclass(frozen=True, slots=True)
class NamedKeys:
    """The metadata keys that a call names: in its filter, and in another argument."""

    expression: Expression | None
    other: tuple[str, PayloadPath] | None = None


def warn_unknown_keys(
    points: PointsBackend, keys: NamedKeys, name: str, seen: set[Any], refuses: bool
) -> None:
    """Log a warning about conditions and keys that no record can match; or raise
    InvalidFilterError, if `refuses`. name: the name of the collection; seen: keys about which a
    warning was logged, and keys whose types are known."""
    if refuses:
        for _, text in unknown_keys(points, keys, seen):
            raise InvalidFilterError(f"nothing matches: {text}")
    elif len(seen) < MAX_SEEN:
        with suppress(RetrievalStoreError):  # the call itself is done
            for path, text in unknown_keys(points, keys, seen):
                seen.add(path)
                _log.warning("collection %r: nothing matches: %s", name, text)


def warn_text_ranges(
    points: PointsBackend, expression: Expression, name: str, seen: set[Any], refuses: bool
) -> None:
    """Log a warning about each range in a filter whose bound is not a timestamp although the stored
    values are timestamps; or raise InvalidFilterError, if `refuses`. name: the name of the
    collection; seen: ranges that were checked before."""
    if refuses:
        for _, text in _compared_as_texts(points, expression, seen):
            raise InvalidFilterError(text)
    elif len(seen) < MAX_SEEN:
        with suppress(RetrievalStoreError):
            for noted, text in _compared_as_texts(points, expression, seen):
                seen.add(noted)
                _log.warning("collection %r: %s", name, text)


def unknown_keys(
    points: PointsBackend, keys: NamedKeys, seen: Container[Any]
) -> Iterator[tuple[PayloadPath, str]]:
    """The metadata paths of a call at which no record has a value, or no value of the required
    type. Yields each path with a sentence that explains the problem. Yields nothing for an empty
    collection, and on a cluster, where the check would read all records."""
    engine = points.engine
    if engine is None or not points.count():
        return
    for argument, path in () if keys.other is None else (keys.other,):
        stored_kinds = [] if path in seen else engine.kinds(path)
        if path not in seen and not stored_kinds:
            yield path, f"no record has a value under {argument}={shorten('.'.join(path))}"
        elif stored_kinds == ["others"] and argument == "key":
            yield (
                path,
                f"under {argument}={shorten('.'.join(path))} records have "
                f"{_in_words(stored_kinds)}",
            )
        elif argument == "order_by" and stored_kinds and not _has_order(points, path):
            yield path, _on_order(path, stored_kinds)
    kinds_by_path = {} if keys.expression is None else _kinds_by_path(keys.expression)
    for path, kinds in islice(kinds_by_path.items(), MAX_KEYS):
        if path in seen or (path, kinds) in seen:
            continue
        stored_kinds = engine.kinds(path)
        if not stored_kinds:
            there = shorten(".".join(path))
            yield path, f"no record has a value under {there}{_hint_at_lists(engine, path)}"
        elif not _may_be(kinds, stored_kinds):
            yield path, _on_kinds(path, kinds, stored_kinds)
        elif isinstance(seen, set):
            seen.add((path, kinds))


def _hint_at_lists(engine: EnginePoints, path: PayloadPath) -> str:
    """A sentence that explains why a path finds nothing, if it leads into a list of objects;
    otherwise an empty string."""
    keys = split_dotted(path) or path
    for i in range(1, len(keys)):
        if engine.kinds(JsonPath((*keys[:i], EACH, *keys[i:]))):
            whole = ".".join(keys[:i])
            return (
                f"; {shorten(whole)} is a list of objects, and paths don't enter lists: store the "
                f"values as a list under their own key, or filter by QdrantClient with "
                f"'{whole}[].{'.'.join(keys[i:])}'"
            )
    return ""


def _compared_as_texts(
    points: PointsBackend, expression: Expression, seen: Container[Any]
) -> Iterator[tuple[Any, str]]:
    """The ranges of a filter whose bound is not a timestamp, although records have timestamps at
    that path. Yields each range as a key for `seen`, with a sentence that explains the problem.
    Yields nothing on a cluster."""
    engine = points.engine
    if engine is None:
        return
    ranges = (leaf for leaf in _positive_leaves(expression) if isinstance(leaf, TextRange))
    for leaf in islice(ranges, MAX_KEYS):
        texts = [bound for _, bound, time in leaf.sides() if time is None]
        noted = (leaf.path, TextRange)
        if not texts or noted in seen:
            continue
        if engine.kinds(leaf.path) == ["times"]:
            yield (
                noted,
                (
                    f"{shorten(texts[0])} is no time, so the times under "
                    f"{shorten('.'.join(leaf.path))} are compared with it as texts; expected one "
                    "such as '2024-01-31' or '2024-01-31T12:00:00+00:00', or a datetime"
                ),
            )
        elif isinstance(seen, set):
            seen.add(noted)


def _has_order(points: PointsBackend, path: PayloadPath) -> bool:
    return bool(points.in_order(path, None, 1, 0, False, Fields()).ids)


def _on_order(path: PayloadPath, stored_kinds: Sequence[str]) -> str:
    return (
        f"order_by goes by numbers and dates, but under {shorten('.'.join(path))} records have "
        f"{_in_words(stored_kinds)}"
    )


def _in_words(stored_kinds: Sequence[str]) -> str:
    return "objects or empty lists" if stored_kinds == ["others"] else " and ".join(stored_kinds)


def _may_be(kinds: frozenset[str], stored_kinds: Sequence[str]) -> bool:
    """Whether values of the stored types can match the wanted types (`kinds`). True if all stored
    values are empty lists, since the type of their elements is unknown."""
    of_lists = any(kind.endswith("in lists") for kind in kinds)
    return (
        ANY in kinds
        or not kinds.isdisjoint(stored_kinds)
        or (stored_kinds == ["others"] and of_lists)
    )


def _on_kinds(path: PayloadPath, kinds: frozenset[str], stored_kinds: Sequence[str]) -> str:
    if not kinds:
        return f"under {shorten('.'.join(path))} the filter asks for one of no values"
    kinds -= {"times"}  # are strings
    in_lists = any(f"{kind} in lists" in stored_kinds for kind in kinds)
    hint = ", into which $contains looks" if in_lists else ""
    return (
        f"under {shorten('.'.join(path))} the filter asks for {' or '.join(sorted(kinds))}, but "
        f"records have {_in_words(stored_kinds)} there{hint}"
    )


def _kinds_by_path(expression: Expression) -> dict[PayloadPath, frozenset[str]]:
    """The types of values that can fulfil the conditions of a filter, by path. Conditions that a
    record without a value also fulfils, such as negated ones, are left out. So are conditions that
    only check whether a value exists."""
    kinds: dict[PayloadPath, frozenset[str]] = {}
    for leaf in _positive_leaves(expression):
        if not isinstance(leaf, Exists):
            kinds[leaf.path] = kinds.get(leaf.path, frozenset()) | _kinds_for(leaf)
    return kinds


def _positive_leaves(expression: Expression) -> Iterator[ValueLeaf]:
    """The conditions on values that aren't negated."""
    pending = [expression]
    while pending:
        node = pending.pop()
        if isinstance(node, And | Or | AtLeast):
            pending += node.terms[::-1]
        elif isinstance(node, ValueLeaf):
            yield node


def _kinds_for(leaf: ValueLeaf) -> frozenset[str]:
    match leaf:
        case OneOf(values=values):
            kinds = frozenset(map(_kind_of, values))
            return kinds | {"times"} if "strings" in kinds else kinds
        case ListHas(values=values):
            return frozenset(f"{_kind_of(value)} in lists" for value in values)
        case Range():
            return frozenset(("numbers",))
        case TextLeaf() | TextRange():
            return frozenset(("strings", "times"))
    return frozenset((ANY,))


def _kind_of(value: Scalar) -> str:
    if isinstance(value, bool):
        return "bools"
    return "strings" if isinstance(value, str) else "numbers"
