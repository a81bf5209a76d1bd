"""Conditions that one object in a list must fulfil all at once."""

from dataclasses import dataclass
from typing import Any, final

from retrieval_store.filters.nodes import And, AtLeast, Expression, Not, Or
from retrieval_store.filters.typed.columns import Column, ElementsAt, found_at
from retrieval_store.filters.typed.leaf import KeptElements, TypedLeaf
from retrieval_store.filters.typed.paths import Found as Values
from retrieval_store.filters.typed.paths import Steps
from retrieval_store.filters.values import Found


@final
@dataclass(frozen=True, slots=True)
class AnyElement(TypedLeaf):
    """Points with an object in a list that fulfils the expression, whose paths begin there. Made by
    `any_element`."""

    at: ElementsAt
    expression: Expression

    def holds(self, values: Values) -> bool:
        return any(
            isinstance(one, dict) and element_fulfils(one, self.expression) for one in values
        )

    def found_in(self, kept: KeptElements) -> Found:
        return kept.fulfilling(self.expression)


def any_element(path: Steps, expression: Expression) -> AnyElement:
    """The condition on elements of the lists at a path."""
    columns = dict.fromkeys(leaf.at for leaf in leaves_of(expression))
    return AnyElement(ElementsAt(path, tuple(columns)), expression)


def leaves_of(expression: Expression) -> list[TypedLeaf]:
    """The conditions on payloads of an expression, but not those within them."""
    match expression:
        case And(terms) | Or(terms) | AtLeast(terms):
            return [leaf for term in terms for leaf in leaves_of(term)]
        case Not(term):
            return leaves_of(term)
        case TypedLeaf():
            return [expression]
    raise TypeError(f"no element of a list can be asked for {expression!r}")


def element_fulfils(element: Any, expression: Expression) -> bool:
    """Whether an object does."""
    match expression:
        case And(terms):
            return all(element_fulfils(element, term) for term in terms)
        case Or(terms):
            return any(element_fulfils(element, term) for term in terms)
        case AtLeast(terms, count):
            return sum(element_fulfils(element, term) for term in terms) >= count
        case Not(term):
            return not element_fulfils(element, term)
        case TypedLeaf():
            return expression.holds(found_at(element, expression.at))
    raise TypeError(f"no element of a list can be asked for {expression!r}")


def columns_within(column: Column) -> tuple[Column, ...]:
    """What is asked of elements there."""
    return column.asked if isinstance(column, ElementsAt) else ()
