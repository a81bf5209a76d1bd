"""What the translators of frameworks' filters share, and what frameworks choose of results.

A translator gives each operator of its framework an expression. An `Operand` checks the values of
comparisons. The framework decides which values an operator takes, and how a refusal begins; it is
ours that a refusal names what would be right.

`parse_filters` takes filters that aren't a framework's own. Of results, `diversify` selects by
maximal marginal relevance.
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
    """The operand of a framework's comparison, for the expression of it. Errors say what the
    comparison is, which value it has, and what would be right.

    path: keys that lead to the field. value: the operand, unchecked. subject: the comparison in the
    framework's words, up to the value: "'year' is compared by 'gt' with".
    """

    path: PayloadPath
    value: Any
    subject: str

    def error(self, expected: str) -> InvalidFilterError:
        """The error that says what was expected in place of the value."""
        return InvalidFilterError(f"{self.subject} {quote(self.value)}, expected {expected}")

    def scalar(self, expected: str) -> Scalar:
        """The value of a single string, number or bool; InvalidFilterError, with the words of what
        was expected, for anything else."""
        if not isinstance(self.value, str | int | float):
            raise self.error(expected)
        return self.value

    def several(self) -> list[Any]:
        """The values of a list, unchecked, or a single one."""
        return list(self.value) if isinstance(self.value, list | tuple) else [self.value]

    def text(self) -> str:
        """The value of a string; InvalidFilterError for anything else."""
        if not isinstance(self.value, str):
            raise self.error("a string")
        return self.value


def parse_filters(filters: Mapping[str, Any], under: str | None = None) -> Expression | None:
    """All of the filters at once, as `where` of a Collection takes it; None where none of them
    restricts anything, so that a delete by them can be refused.

    Args:
        filters: by the names of the arguments that they were given as: each a dict in the shape of
            Chroma's `where`, an expression of `retrieval_store.filters`, a `Filter` of
            qdrant-client's models, or None.
        under: a key that has the metadata which dicts and expressions name; a `Filter` has full
            paths.

    Raises:
        InvalidFilterError: a filter that can't be.
        InvalidTypeError: anything else than a filter.
    """
    whole = all_of(*(_parse(value, name, under) for name, value in filters.items()))
    return None if whole is None else Parsed(whole)


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


def _parse(value: Any, name: str, under: str | None) -> Expression | None:
    """A filter, checked; None where it restricts nothing."""
    expression = _expression_of(value, name)
    if expression is None or _always(expression) is True:
        return None
    return expression if under is None else _below(under, expression)


def _expression_of(value: Any, name: str) -> Expression | None:
    if value is None:
        return None
    if isinstance(value, Expression):
        return check_expression(value)
    if isinstance(value, Mapping):
        return parse_where(value) if value else None
    if type(value).__module__.startswith("qdrant_client."):
        return _parse_qdrant(value, name)
    raise InvalidTypeError(
        f"{name} is {quote(value)}, expected a dict such as {{'year': {{'$gte': 2020}}}}, an "
        "expression of retrieval_store.filters, or a Filter of qdrant_client.models"
    )


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
    return node  # of a document, of ids, or of a path of Qdrant's, which is whole


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
    """Check how deep a term of a framework's filter lies, before anything below it is read.

    Args:
        depth: in how many terms it lies, itself included.
        nested: subject and verb of the message: "the filter is".

    Raises:
        InvalidFilterError: deeper than `MAX_DEPTH` of `retrieval_store.filters.expression`.
    """
    if depth > MAX_DEPTH:
        raise InvalidFilterError(f"{nested} nested deeper than {MAX_DEPTH} levels")


def diversify(query: Any, vectors: Sequence[Any], k: int, lambda_mult: float) -> list[int]:
    """Which k of the vectors to take, near the query and unlike each other, in the order in which
    they are chosen, by maximal marginal relevance.

    Args:
        query: (dim,) numbers.
        vectors: (n, dim) numbers, such as the "embeddings" of a query's hits.
        k: how many, at most n of them.
        lambda_mult: 1 is nearness alone, 0 variety alone.

    Returns:
        Their places among the vectors.
    """
    if len(vectors) == 0:
        return []
    chosen = maximal_marginal_relevance(
        np.asarray(query, np.float32), np.stack(vectors), k, lambda_mult
    )
    places: list[int] = chosen.tolist()
    return places
