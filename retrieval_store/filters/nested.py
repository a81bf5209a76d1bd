"""Conditions that one object in a list must fulfil all at once."""

from typing import Any, final

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.filters.columns import ElementsAt
from retrieval_store.filters.leaves import (
    ColumnLeaf,
    KeptElements,
    RowSet,
    column_of,
    is_fulfilled,
)
from retrieval_store.filters.nodes import Expression, fulfilled, walk
from retrieval_store.filters.paths import Steps


@final
@dataclass(frozen=True, slots=True)
class AnyElement(ColumnLeaf):
    """Points with an object in a list that fulfils the expression, whose paths begin there. Made by
    `any_element`."""

    at: ElementsAt
    expression: Expression

    def holds(self, value: dict[str, Any]) -> bool:
        def answer(leaf: Expression, asked: bool) -> bool:
            if not isinstance(leaf, ColumnLeaf):
                raise TypeError(f"no element of a list can be asked for {leaf!r}")
            return asked and is_fulfilled(leaf, value)

        return fulfilled(self.expression, True, answer)

    def of_elements(self) -> Expression:
        return self.expression

    def found_in(self, kept: KeptElements) -> RowSet:
        return kept.fulfilling(self.expression)


def any_element(path: Steps, expression: Expression) -> AnyElement:
    """The condition on elements of the lists at a path."""
    columns = (column_of(leaf) for leaf in walk(expression) if isinstance(leaf, ColumnLeaf))
    return AnyElement(ElementsAt(path, tuple(dict.fromkeys(columns))), expression)
