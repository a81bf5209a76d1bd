"""Filters as their callers wrote them, in parts, so that those can be named that leave a record
out. A front parses its dialect into these; what a part means is an expression."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

from retrieval_store.base.dataclasses import dataclass, replace
from retrieval_store.filters.columns import found_at
from retrieval_store.filters.documents import DocumentLeaf
from retrieval_store.filters.leaves import ColumnLeaf, column_of
from retrieval_store.filters.nodes import Expression, HasId, walk
from retrieval_store.filters.predicate import Candidate

Kind: TypeAlias = Literal["one", "all", "any"]
MOST_TOLD = 50  # conditions that leave a record out
LONGEST = 200  # characters of a document that are shown as the value which a condition met


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """A part of a filter. argument: of the call, in which it stands; written: the part alone, as
    it could be written there; kind: "one" can't be taken apart, "all" and "any" are made of
    terms."""

    argument: str
    written: Any
    expression: Expression
    kind: Kind = "one"
    terms: tuple["Condition", ...] = ()


@dataclass(frozen=True, slots=True)
class Excluded:
    """A condition that leaves a record out: in which argument of the call it stands, the condition
    alone as it is written there, and the value that it met, None where the record has none."""

    argument: str
    condition: Any
    met: Any

    def __str__(self) -> str:
        return f"{self.argument} {self.condition!r} (it met {self.met!r})"


def every(conditions: Iterable[Condition]) -> Iterator[Condition]:
    """The conditions and all that they are made of."""
    for one in conditions:
        yield one
        yield from every(one.terms)


def failing(condition: Condition, holds: Callable[[Condition], bool]) -> list[Condition]:
    """The smallest conditions for which a record is left out: none where it isn't. Of several that
    would each have to be otherwise, all; of several of which one would be enough, all too."""
    if holds(condition):
        return []
    if condition.kind == "one":
        return [condition]
    found = [one for term in condition.terms for one in failing(term, holds)]
    # Of a condition that wants several of its terms there may be none that fails by itself; and
    # where it wants any of very many, it says more than all of them.
    return found if 0 < len(found) <= MOST_TOLD else [condition]


def undivided(conditions: Sequence[Condition], most: int) -> tuple[Condition, ...]:
    """The conditions; each as a whole where they have more than so many parts."""
    if sum(1 for _ in every(conditions)) <= most:
        return tuple(conditions)
    return tuple(replace(one, kind="one", terms=()) for one in conditions[:most])


def expressions_of(conditions: Sequence[Condition]) -> tuple[Expression, ...]:
    """The expressions of `every` condition, in its order."""
    return tuple(one.expression for one in every(conditions))


def value_met(condition: Condition, record: Candidate) -> Any:
    """What a record has where a condition looks: a value of its metadata, several as a list; the
    beginning of its document; its id. None where it has nothing."""
    for leaf in walk(condition.expression):
        if isinstance(leaf, ColumnLeaf):
            return _value_of(leaf, record)
        if isinstance(leaf, DocumentLeaf):
            document = record.document
            if document is None or len(document) <= LONGEST:
                return document
            return document[:LONGEST] + "…"
        if isinstance(leaf, HasId):
            return record.id
    return None


def _value_of(leaf: ColumnLeaf, record: Candidate) -> Any:
    found = found_at(record.shown, column_of(leaf))
    return found[0] if len(found) == 1 else found or None
