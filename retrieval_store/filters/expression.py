"""The filter expression language: what every dialect is parsed into, and all that is evaluated.

A filter is a tree of these frozen nodes. They say what matches, not how it is found; the engine
evaluates them to masks, and other backends translate them. A *path* leads into a payload, one key a
step. A point whose payload has nothing (or null) at the path matches no leaf; negate with `Not`.
"""

from collections.abc import Sequence
from typing import Any

from retrieval_store.base.dataclasses import replace
from retrieval_store.filters.documents import DocumentContains, DocumentLeaf, DocumentMatches
from retrieval_store.filters.leaves import ColumnLeaf, ValueLeaf
from retrieval_store.filters.nested import walk
from retrieval_store.filters.nodes import (
    MAX_DEPTH,
    And,
    AtLeast,
    Expression,
    HasId,
    HasVector,
    Not,
    Or,
    Scalar,
    all_of,
)
from retrieval_store.filters.paths import PayloadPath, dotted, value_at
from retrieval_store.filters.slices import InSlice
from retrieval_store.filters.values import (
    Equality,
    Exists,
    HasLength,
    ListHas,
    OneOf,
    Range,
    TextIn,
    TextRange,
)

__all__ = [
    "MAX_DEPTH",
    "And",
    "AtLeast",
    "ColumnLeaf",
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
    "ValueLeaf",
    "all_of",
    "dotted",
    "every",
    "joined",
    "value_at",
    "walk",
]
every = all_of  # its older name, which users may know


def joined(terms: Sequence[Expression], negated: bool) -> list[Expression]:
    """The terms of an Or with equalities on one column made one (`a = 1 or a = 2`: a is one of 1,
    2); with `negated` those of an And likewise (neither 1 nor 2)."""
    groups: dict[Any, list[Equality]] = {}
    others: list[Expression] = []
    for term in terms:
        leaf = term.term if negated and isinstance(term, Not) else term
        if isinstance(leaf, Equality) and (leaf is not term) == negated:
            groups.setdefault(_place(leaf), []).append(leaf)
        else:
            others.append(term)
    leaves = [_united(some) for some in groups.values()]
    return others + ([Not(leaf) for leaf in leaves] if negated else leaves)


def _place(leaf: Equality) -> Any:
    """The same for all that are asked of the same column in the same way."""
    return type(leaf), leaf.path if isinstance(leaf, ValueLeaf) else leaf.at


def _united(leaves: list[Equality]) -> Equality:
    if len(leaves) == 1:
        return leaves[0]
    values = tuple(value for leaf in leaves for value in leaf.values)
    return replace(leaves[0], values=values)  # type: ignore[type-var]
