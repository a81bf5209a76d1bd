"""The filter expression language: what every dialect is parsed into, and all that is evaluated.

A filter is a tree of these frozen nodes. They say what matches, not how it is found; the engine
evaluates them to masks, and other backends translate them. A *path* leads into a payload, one key a
step. A point whose payload has nothing (or null) at the path matches no leaf; negate with `Not`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from retrieval_store.base.json_values import Payload

Scalar: TypeAlias = bool | int | float | str
PayloadPath: TypeAlias = tuple[str, ...]
MAX_DEPTH = 200  # levels of terms in terms: who evaluates them calls itself for each


class Expression:
    """A condition that a point fulfils or doesn't."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class And(Expression):
    """Points that fulfil all terms; with no terms, every point."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or(Expression):
    """Points that fulfil at least one term; with no terms, none."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not(Expression):
    """Points that don't fulfil the term."""

    term: Expression


@dataclass(frozen=True, slots=True)
class OneOf(Expression):
    """Points with a scalar at `path` equal to one of `values`.

    Numbers compare by exact value (1 equals 1.0), a bool equals only that bool.
    """

    path: PayloadPath
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class ListHas(Expression):
    """Points with a list at `path` that has an element equal to one of `values`."""

    path: PayloadPath
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Range(Expression):
    """Points with a number at `path` in the bounds, compared exactly; None leaves a side open."""

    path: PayloadPath
    gt: int | float | None = None
    gte: int | float | None = None
    lt: int | float | None = None
    lte: int | float | None = None


@dataclass(frozen=True, slots=True)
class TextIn(Expression):
    """Points with a string at `path` that has `text` in it; ignore_case: as `str.casefold` says."""

    path: PayloadPath
    text: str
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Exists(Expression):
    """Points with something at `path`: neither nothing, nor null, nor an empty list."""

    path: PayloadPath


@dataclass(frozen=True, slots=True)
class HasId(Expression):
    """Points with one of these ids."""

    ids: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class DocumentContains(Expression):
    """Points with a document that has `text` in it, case and all."""

    text: str


@dataclass(frozen=True, slots=True)
class DocumentMatches(Expression):
    """Points with a document in which the RE2 `pattern` is found somewhere."""

    pattern: str


def every(*terms: Expression | None) -> Expression | None:
    """All of the terms that aren't None at once; None when no term is left."""
    given = tuple(term for term in terms if term is not None)
    if len(given) <= 1:
        return given[0] if given else None
    return And(given)


def walk(expression: Expression) -> Iterator[Expression]:
    """The node and all below it, without recursion."""
    pending = [expression]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, And | Or):
            pending.extend(node.terms)
        elif isinstance(node, Not):
            pending.append(node.term)


def joined(terms: tuple[Expression, ...], negated: bool) -> list[Expression]:
    """The terms of an Or with equalities on one path made one (`a = 1 or a = 2`: a is one of 1, 2);
    with `negated` those of an And likewise (neither 1 nor 2)."""
    groups: dict[tuple[type, PayloadPath], list[Scalar]] = {}
    others: list[Expression] = []
    for term in terms:
        leaf = term.term if negated and isinstance(term, Not) else term
        if isinstance(leaf, OneOf | ListHas) and (leaf is not term) == negated:
            groups.setdefault((type(leaf), leaf.path), []).extend(leaf.values)
        else:
            others.append(term)
    leaves = [kind(path, tuple(values)) for (kind, path), values in groups.items()]
    return others + ([Not(leaf) for leaf in leaves] if negated else leaves)


def value_at(payload: Payload | None, path: PayloadPath) -> Any:
    """What the payload has at the path; None when there is nothing."""
    value: Any = payload
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value
