"""The filter expression language: what every dialect is parsed into, and all that is evaluated.

A filter is a tree of these frozen nodes. They say what matches, not how it is found; the engine
evaluates them to masks, and other backends translate them. A *path* leads into a payload, one key a
step. A point whose payload has nothing (or null) at the path matches no leaf; negate with `Not`.
"""

from collections.abc import Iterator
from typing import Any

from retrieval_store.base.json_values import Payload
from retrieval_store.filters.documents import DocumentContains, DocumentLeaf, DocumentMatches
from retrieval_store.filters.nodes import (
    MAX_DEPTH,
    And,
    AtLeast,
    Expression,
    HasId,
    Not,
    Or,
    PayloadPath,
    Scalar,
)
from retrieval_store.filters.typed.geo import InBox, InCircle, InPolygon
from retrieval_store.filters.typed.leaf import TypedLeaf
from retrieval_store.filters.typed.matches import Between, Counted, Differs, Equals, HasNull
from retrieval_store.filters.typed.nested import AnyElement
from retrieval_store.filters.typed.points import HasVector, InSlice
from retrieval_store.filters.typed.texts import Beginning, Containing, HasPhrase, HasTokens
from retrieval_store.filters.values import (
    Exists,
    HasLength,
    ListHas,
    OneOf,
    Range,
    TextIn,
    TextRange,
    ValueLeaf,
)

__all__ = [
    "MAX_DEPTH",
    "And",
    "AtLeast",
    "DocumentContains",
    "DocumentLeaf",
    "DocumentMatches",
    "Exists",
    "Expression",
    "HasId",
    "HasLength",
    "HasVector",
    "InSlice",
    "ListHas",
    "Not",
    "OneOf",
    "Or",
    "PayloadPath",
    "Range",
    "Scalar",
    "TextIn",
    "TextRange",
    "TypedLeaf",
    "ValueLeaf",
    "dotted",
    "every",
    "joined",
    "value_at",
    "walk",
]
# Conditions that tell types apart, for fronts that have such: a user's filter has none of them.
_TYPED = (
    *(AnyElement, Beginning, Between, Containing, Counted, Differs, Equals, HasNull),
    *(HasPhrase, HasTokens, InBox, InCircle, InPolygon),
)
# The classes that are imported here: the language's own. Of others nobody knows what they hold.
NODES = frozenset(
    one for one in [*globals().values()] if isinstance(one, type) and issubclass(one, Expression)
)


def every(*terms: Expression | None) -> Expression | None:
    """All of the terms that aren't None at once; None when no term is left."""
    given = tuple(term for term in terms if term is not None)
    if len(given) <= 1:
        return given[0] if given else None
    return And(given)


def walk(expression: Expression, within: bool = False) -> Iterator[Expression]:
    """The node and all below it, without recursion; with `within`, those too that are asked of
    elements of lists."""
    pending = [expression]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, And | Or | AtLeast):
            pending.extend(node.terms)
        elif isinstance(node, Not):
            pending.append(node.term)
        elif within and isinstance(node, AnyElement):
            pending.append(node.expression)


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


def dotted(path: PayloadPath) -> PayloadPath | None:
    """The keys between the dots of the only key of a path; None where there are none."""
    if len(path) != 1 or not isinstance(path[0], str) or "." not in path[0]:
        return None
    keys = tuple(path[0].split("."))
    return keys if all(keys) else None


def value_at(payload: Payload | None, path: PayloadPath) -> Any:
    """What the payload has at the path; None when there is nothing. One key with dots in it leads
    through several, where there is no key of that very name."""
    others = dotted(path)
    if others is not None and (payload is None or path[0] not in payload):
        path = others
    value: Any = payload
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value
