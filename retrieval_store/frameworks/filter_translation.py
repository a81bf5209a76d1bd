"""What the translators of frameworks' filters share, and what frameworks choose of results.

A translator gives each operator of its framework an expression. An `Operand` checks the values of
comparisons. The framework decides which values an operator takes, and how a refusal begins; it is
ours that a refusal names what would be right.

Of results, `diverse` selects by maximal marginal relevance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from retrieval_store.base.fusion import maximal_marginal_relevance
from retrieval_store.base.validation import quote
from retrieval_store.errors import InvalidFilterError, InvalidTypeError
from retrieval_store.filters.expression import (
    MAX_DEPTH,
    And,
    AtLeast,
    Exists,
    Expression,
    HasId,
    ListHas,
    Not,
    OneOf,
    Or,
    PayloadPath,
    Scalar,
    ValueLeaf,
    all_of,
    split_dotted,
)
from retrieval_store.filters.leaves import Parsed, check_expression
from retrieval_store.filters.values import Equals
from retrieval_store.filters.where import parse_where


@dataclass(frozen=True, slots=True)
class Operand:
    """The operand of a framework's comparison of the field at `path`. subject: the comparison in
    the framework's words, up to the value."""

    path: PayloadPath
    value: Any
    subject: str

    def error(self, expected: str) -> InvalidFilterError:
        """The error that says what was expected in place of the value."""
        return InvalidFilterError(f"{self.subject} {quote(self.value)}, expected {expected}")

    def scalar(self, expected: str) -> Scalar:
        """The value, which must be a string, a number or a bool; expected: words for the
        refusal."""
        if not isinstance(self.value, str | int | float):
            raise self.error(expected)
        return self.value

    def several(self) -> list[Any]:
        """The values of a list, unchecked, or a single one."""
        return list(self.value) if isinstance(self.value, list | tuple) else [self.value]

    def text(self) -> str:
        """The value, which must be a string."""
        if not isinstance(self.value, str):
            raise self.error("a string")
        return self.value


def all_native(filters: Mapping[str, Any]) -> Parsed | None:
    """All of the filters at once, in the form that `where` of a Collection takes; None when none of
    them restricts anything. filters: by the names of the arguments, each as `native` takes it."""
    parsed = [native(value, name) for name, value in filters.items()]
    return as_parsed(all_of(*(None if part is None else part.expression for part in parsed)))


def as_parsed(expression: Expression | None) -> Parsed | None:
    """A checked expression for a Collection; None for one that restricts nothing, so that a delete
    by it is refused."""
    if expression is None or _always(expression) is True:
        return None
    return Parsed(expression)


def _always(node: Expression) -> bool | None:
    """True where all points fulfil an expression whatever they hold, False where none does; None
    where that depends."""
    match node:
        case And(terms):
            return _enough([_always(term) for term in terms], len(terms))
        case Or(terms):
            return _enough([_always(term) for term in terms], 1)
        case AtLeast(terms, count):
            return _enough([_always(term) for term in terms], count)
        case Not(term):
            always = _always(term)
            return None if always is None else not always
        case HasId(ids=few) | Equals(values=few) | OneOf(values=few) | ListHas(values=few):
            return None if few else False
    return None


def _enough(terms: list[bool | None], count: int) -> bool | None:
    """Whether at least so many of the terms hold."""
    if terms.count(True) >= count:
        return True
    return False if len(terms) - terms.count(False) < count else None


def native(value: Any, name: str = "filter") -> Parsed | None:
    """A filter that a user gives as the store's own: a dict in the shape of Chroma's, an
    expression, or a `Filter` of qdrant-client's models; None where it restricts nothing. Raises
    InvalidTypeError for anything else, and InvalidFilterError."""
    if value is None or isinstance(value, Parsed):
        return value
    if isinstance(value, Expression):
        return as_parsed(check_expression(value))
    if isinstance(value, Mapping):
        return as_parsed(parse_where(value)) if value else None
    if type(value).__module__.startswith("qdrant_client."):
        return as_parsed(_parse_qdrant(value, name))
    raise InvalidTypeError(
        f"{name} is {quote(value)}, expected a dict such as {{'year': {{'$gte': 2020}}}}, an "
        "expression of retrieval_store.filters, or a Filter of qdrant_client.models"
    )


def below(key: str, value: Any) -> Parsed | None:
    """The filter of `native`, applied to an object under a metadata key; except one of Qdrant's,
    whose keys are full paths."""
    parsed = native(value)
    if parsed is None or type(value).__module__.startswith("qdrant_client."):
        return parsed
    return Parsed(_below(key, parsed.expression))


def _below(key: str, node: Expression) -> Expression:
    match node:
        case And(terms) | Or(terms):
            kind = And if isinstance(node, And) else Or
            return kind(tuple(_below(key, term) for term in terms))
        case AtLeast(terms, count):
            return AtLeast(tuple(_below(key, term) for term in terms), count)
        case Not(term):
            return Not(_below(key, term))
        case ValueLeaf(path=path):
            return _leaf_below(key, node, path)
    return node  # of a document, or of ids


def _leaf_below(key: str, leaf: Any, path: PayloadPath) -> Expression:
    """A leaf below a key; a name with dots is a path where there is no key of that name."""
    moved: Expression = replace(leaf, path=(key, *path))
    way = split_dotted(path)
    if way is None:
        return moved
    named, other = Exists((key, *path)), replace(leaf, path=(key, *way))
    return Or((And((named, moved)), And((Not(named), other))))


def _parse_qdrant(value: Any, name: str) -> Expression | None:
    """A filter of Qdrant's, as a server reads it for keys without an index."""
    from qdrant_client import models

    from retrieval_store.qdrant.filter_parser import parse_filter
    from retrieval_store.qdrant.refusals import Refused

    if not isinstance(value, models.Filter):
        raise InvalidTypeError(
            f"{name} is {quote(value)}, expected a Filter: wrap the condition in one"
        )
    try:
        return parse_filter(value, {})
    except Refused as error:
        raise InvalidFilterError(f"{name}: {error.message}") from error
    except (AttributeError, TypeError) as error:  # a model that was made without its checks
        raise InvalidFilterError(f"{name} is {quote(value)}, an incomplete Filter") from error


def refuse_depth(depth: int, nested: str) -> None:
    """Raise InvalidFilterError for a term that is too deep, before anything below it is read.
    nested: subject and verb of the message."""
    if depth > MAX_DEPTH:
        raise InvalidFilterError(f"{nested} nested deeper than {MAX_DEPTH} levels")


def diverse(query: Any, vectors: Sequence[Any], k: int, lambda_mult: float) -> list[int]:
    """Places of k of the vectors, near the query and unlike each other, in the order in which they
    are chosen; lambda_mult 1 is nearness alone. None of no vectors."""
    if len(vectors) == 0:
        return []
    chosen = maximal_marginal_relevance(
        np.asarray(query, np.float32), np.stack(vectors), k, lambda_mult
    )
    places: list[int] = chosen.tolist()
    return places
