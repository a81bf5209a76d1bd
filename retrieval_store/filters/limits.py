"""Checks of expressions that users and adapters pass as objects, instead of dicts of a dialect.

Evaluating an expression is recursive, one call for each level, and visits a term once for each
place where it occurs. So both depth and size are limited here, before anything is evaluated.
"""

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import shown
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.documents import DocumentLeaf
from retrieval_store.filters.leaves import ValueLeaf
from retrieval_store.filters.nodes import COMBINATIONS, MAX_DEPTH, Expression, HasId, terms_of

MAX_NODES = 1_000_000


@dataclass(frozen=True, slots=True)
class Parsed(Expression):
    """An expression that a parser of ours has made, and has checked: it may hold conditions that
    aren't the language's own. To be unwrapped before it is evaluated."""

    expression: Expression


def checked_expression(expression: Expression) -> Expression:
    """The expression as it is; raises InvalidFilterError when it is too deep or too large, when
    something in it is no expression, and when a pattern can't be compiled."""
    if isinstance(expression, Parsed):
        return expression.expression
    level, depth, nodes = [expression], 0, 0
    while level:
        depth, nodes = depth + 1, nodes + len(level)
        if depth > MAX_DEPTH:
            raise InvalidFilterError(f"the filter is nested deeper than {MAX_DEPTH} levels")
        if nodes > MAX_NODES:
            raise InvalidFilterError(f"the filter has more than {MAX_NODES} conditions")
        level = [term for node in level for term in _terms(node)]
    return expression


def _terms(node: Expression) -> tuple[Expression, ...]:
    if isinstance(node, COMBINATIONS):
        return terms_of(node)
    if not isinstance(node, ValueLeaf | DocumentLeaf | HasId):
        raise InvalidFilterError(
            f"the filter has a term of type {type(node).__name__}, expected an expression of "
            "retrieval_store.filters.expression"
        )
    if isinstance(node, ValueLeaf) and not isinstance(node.path, tuple):
        raise InvalidFilterError(
            f"the path of {type(node).__name__} is {shown(node.path)}, expected a tuple of keys: "
            '("genre",)'
        )
    node.check()
    return ()
