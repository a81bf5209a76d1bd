"""Expressions asked of one point at a time, for points that come from elsewhere than the engine.

The engine never does this: it evaluates an expression to a mask over all points at once.
"""

from dataclasses import dataclass

from retrieval_store.base.json_values import Payload
from retrieval_store.filters.documents import DOCUMENT, URI
from retrieval_store.filters.expression import (
    And,
    AtLeast,
    DocumentLeaf,
    Expression,
    HasId,
    InSlice,
    Not,
    Or,
    TypedLeaf,
    ValueLeaf,
    value_at,
)
from retrieval_store.filters.typed.columns import found_at


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a filter looks at of a point."""

    id: str | int
    payload: Payload | None
    document: str | None
    uri: str | None = None

    @property
    def shown(self) -> Payload:
        """The payload with document and uri in it, as which Qdrant's conditions know them."""
        others: Payload = {DOCUMENT: self.document, URI: self.uri}
        return {**(self.payload or {}), **others}


def fulfils(point: Candidate, expression: Expression | None) -> bool:
    """Whether the point fulfils the expression; all do when it is None."""
    match expression:
        case None:
            return True
        case And(terms) | Or(terms):
            wanted = isinstance(expression, Or)
            for term in terms:  # no generator, which would be a second call for each level
                if fulfils(point, term) is wanted:
                    return wanted
            return not wanted
        case AtLeast(terms, count):
            return sum(fulfils(point, term) for term in terms) >= count
        case Not(term):
            return not fulfils(point, term)
        case HasId(ids):
            return point.id in ids
        case DocumentLeaf():
            return point.document is not None and bool(expression.holds(point.document))
        case ValueLeaf():
            return bool(expression.holds(value_at(point.payload, expression.path)))
        case TypedLeaf():
            return bool(expression.holds(found_at(point.shown, expression.at)))
        case InSlice():
            return bool(expression.of([point.id])[0])
    raise TypeError(f"nothing is defined for {expression!r}")
