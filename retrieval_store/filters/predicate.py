"""Expressions asked of one point at a time, for points that come from elsewhere than the engine.

The engine never does this: it evaluates an expression to a mask over all points at once.
"""

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import Payload
from retrieval_store.filters.documents import DocumentLeaf
from retrieval_store.filters.leaves import ColumnLeaf, ValueLeaf, is_fulfilled
from retrieval_store.filters.nodes import Expression, HasId, IdLeaf, fulfilled
from retrieval_store.filters.paths import DOCUMENT, URI


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

    def answer(self, leaf: Expression, asked: bool) -> bool:
        """Whether the point is asked at all, and fulfils a leaf."""
        if not asked:
            return False
        match leaf:
            case HasId(ids):
                return self.id in ids
            case DocumentLeaf():
                return self.document is not None and bool(leaf.holds(self.document))
            case ValueLeaf():
                return is_fulfilled(leaf, self.payload)
            case ColumnLeaf():
                return is_fulfilled(leaf, self.shown)
            case IdLeaf():
                return bool(leaf.of([self.id])[0])
        raise TypeError(f"nothing is defined for {leaf!r}")


def fulfils(point: Candidate, expression: Expression | None) -> bool:
    """Whether the point fulfils the expression; all do when it is None."""
    return expression is None or fulfilled(expression, True, point.answer)
