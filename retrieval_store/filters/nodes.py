"""The nodes of expressions that aren't about values: combinations, ids, and whether a point has a
vector.

A filter is a tree of frozen nodes, which define which points match, not how the points are found. A
node that isn't a combination is a *leaf*. Only `evaluate_expression` defines the meaning of
combinations. Each evaluator passes its own function to evaluate leaves, for one point or for many
rows at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, TypeVar, final

from retrieval_store.base.arrays import Bools
from retrieval_store.base.validation import INT_MAX, is_unicode, quote
from retrieval_store.errors import InvalidFilterError

Scalar: TypeAlias = bool | int | float | str
MAX_DEPTH = 200  # levels of nesting: evaluation is recursive
_OURS = __name__.removesuffix("nodes")
# The language's own classes, added when they are imported. The content of nodes of other classes
# isn't known.
NODES: set[type] = set()


class Expression:
    """A condition that a point fulfils or doesn't fulfil."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__.startswith(_OURS):
            NODES.add(cls)

    def check(self) -> None:
        """Raise InvalidFilterError if this node can't be evaluated. Its terms aren't checked."""

    def expression_of_elements(self) -> "Expression | None":
        """The condition on the elements of lists if the node is a leaf with such a condition,
        otherwise None."""
        return None


@dataclass(frozen=True, slots=True)
class And(Expression):
    """Points that fulfil all terms. Without terms, every point matches."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or(Expression):
    """Points that fulfil at least one term. Without terms, no point matches."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class AtLeast(Expression):
    """Points that fulfil at least `count` of the terms."""

    terms: tuple[Expression, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Not(Expression):
    """Points that don't fulfil the term."""

    term: Expression


# The values that users can pass as `where`: a dict in Chroma's form, or an expression.
Where: TypeAlias = Mapping[str, Any] | Expression


@dataclass(frozen=True)
class HasId(Expression):
    """Points with one of these ids. are_shown: whether the ids are strings from a caller who sees
    all ids as strings. In that case "7" also means the integer 7, if a point has that id and no
    point has the id "7"."""

    ids: tuple[str | int, ...]
    are_shown: bool = False

    @property
    def members(self) -> frozenset[str | int]:
        """The ids as a set, for lookups."""
        return self._members

    @cached_property
    def _members(self) -> frozenset[str | int]:
        # Orjson, which writes cache keys, leaves out fields with a leading underscore.
        return frozenset(self.ids)

    def check(self) -> None:
        if not isinstance(self.ids, tuple | list | set | frozenset):
            raise InvalidFilterError(
                f"the filter has the ids {quote(self.ids)}, expected a tuple, such as (7,)"
            )
        for point_id in self.ids:
            if not (is_unicode(point_id) if isinstance(point_id, str) else _is_number(point_id)):
                raise InvalidFilterError(
                    f"the filter has the id {quote(point_id)}, expected a string without lone "
                    "surrogates or an integer from 0 to 2**64 - 1"
                )


class IdLeaf(Expression):
    """A condition on only the id of a point."""

    __slots__ = ()

    def of(self, ids: Sequence[int | str]) -> Bools:
        """Which of the ids fulfil the condition: (n,) bool."""
        raise NotImplementedError


@final
@dataclass(frozen=True, slots=True)
class HasVector(Expression):
    """Points with a vector in this space."""

    space: str


COMBINATIONS = And, Or, AtLeast, Not


def terms_of(node: Expression) -> tuple[Expression, ...]:
    """The terms of which a combination consists. A leaf has no terms."""
    if isinstance(node, (And, Or, AtLeast)):
        return node.terms
    return (node.term,) if isinstance(node, Not) else ()


def walk(expression: Expression, within: bool = False) -> Iterator[Expression]:
    """Yield the node and all nodes below it, without recursion. within: also yield the nodes of
    conditions on elements of lists."""
    pending = [expression]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, COMBINATIONS):
            pending.extend(terms_of(node))
        elif within and (inner := node.expression_of_elements()) is not None:
            pending.append(inner)


def all_of(*terms: Expression | None) -> Expression | None:
    """The conjunction of the terms that aren't None; None if there are no such terms."""
    present = [term for term in terms if term is not None]
    if len(present) <= 1:
        return present[0] if present else None
    return And(tuple(present))


Asked = TypeVar("Asked", bool, Bools)  # one candidate, or a mask of many


def evaluate_expression(
    expression: Expression, candidates: Asked, answer: Callable[[Expression, Asked], Asked]
) -> Asked:
    """Which of the candidates fulfil the expression.

    candidates: an (n,) mask, or a single bool. answer: evaluates a leaf for a mask of candidates,
    and returns the candidates that fulfil it. Each term of And or Or is evaluated only for the
    candidates that no earlier term has decided.
    """
    match expression:
        case And(terms):
            for term in terms:
                if candidates is False:
                    break
                candidates = evaluate_expression(term, candidates, answer)
            return candidates
        case Or(terms):
            left = candidates
            for term in terms:
                if left is False:
                    break
                left = left ^ evaluate_expression(term, left, answer)
            return candidates ^ left
        case AtLeast(terms, count):
            votes: Any = 0
            for term in terms:
                votes = votes + 1 * evaluate_expression(term, candidates, answer)
            enough: Asked = votes >= count
            return candidates & enough
        case Not(term):
            return candidates ^ evaluate_expression(term, candidates, answer)
    return answer(expression, candidates)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and 0 <= value <= INT_MAX


def asking(leaf: Expression, ask: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`ask`, wrapped so that an error in a node of a user's own class becomes an InvalidFilterError
    that names the class. Errors in built-in nodes aren't wrapped, because stored data causes
    them."""
    if type(leaf) in NODES:
        return ask

    def checked(about: Any) -> Any:
        try:
            return ask(about)
        except Exception as error:
            raise InvalidFilterError(f"{type(leaf).__name__} in the filter: {error!r}") from error

    return checked
