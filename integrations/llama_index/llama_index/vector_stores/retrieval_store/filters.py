"""Translates LlamaIndex's metadata filters into expressions of retrieval-store, and wraps embedding
functions as LlamaIndex embeddings.
"""

from dataclasses import replace
from typing import Any, ClassVar

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from retrieval_store.embeddings import max_tokens_of
from retrieval_store.errors import InvalidFilterError, InvalidTypeError
from retrieval_store.filters.expression import (
    And,
    Candidate,
    Exists,
    Expression,
    Not,
    OneOf,
    Or,
    Range,
    TextIn,
    TextRange,
    contains,
    fulfils,
)
from retrieval_store.frameworks import (
    Operand,
    WrappedFunction,
    async_twin,
    quote,
    refuse_depth,
    refuse_unknown,
)

# Metadata keys that all adapters reserve for this one: the rest of a node, and its document's id.
NODE, REF_DOC = "_node", "_ref_doc_id"
SINGLE = "one string or number"
# The keys of a node's document id in LlamaIndex's own `node_to_metadata_dict`, and so in most of
# its stores. There a node without a document has the string "None".
DOCUMENT_KEYS = frozenset(("doc_id", "ref_doc_id", "document_id"))
NO_DOCUMENT = "None"


def to_expression(filters: MetadataFilters | None, depth: int = 1) -> Expression | None:
    """The filters as one expression; None if they restrict nothing. depth: how deeply the filters
    are nested, at least 1. Raises InvalidFilterError, with key, operator and value, for a value
    that cannot be compared, and for nesting that is too deep.

    `!=` and `nin` match nodes without the key. A value of None matches nodes without a value at the
    key. The condition "not" matches nodes that match none of its filters. The keys in
    `DOCUMENT_KEYS` mean the id of the document from which a node comes.
    """
    refuse_depth(depth, "the filters are")
    if filters is None:
        return None
    if not isinstance(filters, MetadataFilters):
        raise InvalidTypeError(
            f"filters is {quote(filters)}, expected MetadataFilters; a dict goes to where="
        )
    condition = _condition(filters)
    parsed = [_parse_item(item, depth) for item in _items(filters)]
    terms = tuple(term for term in parsed if term is not None)
    if not terms:
        return None
    match condition:
        case FilterCondition.OR:
            return Or(terms)
        case FilterCondition.NOT:  # as in LlamaIndex's own store: none of them matches
            return Not(Or(terms))
        case _:
            return And(terms)


def _parse_item(item: Any, depth: int) -> Expression | None:
    if isinstance(item, MetadataFilters):
        return to_expression(item, depth + 1)
    if not isinstance(item, MetadataFilter):
        raise InvalidTypeError(f"filters has {quote(item)}, expected a MetadataFilter")
    operator, operand = _operand(item)
    if item.key in DOCUMENT_KEYS:
        return _of_document(operator, operand)
    return _comparison(operator, operand)


def _of_document(operator: FilterOperator, operand: Operand) -> Expression:
    """A condition on the id of the document from which a node comes. Nodes that this store has
    written have that id at `REF_DOC`, and their metadata may have another value at the filter's
    key. Nodes from other stores have the id at the filter's key. A node without an id at either key
    belongs to no document."""
    here = Exists((REF_DOC,))
    ours = _comparison(operator, replace(operand, path=(REF_DOC,)))
    others = _comparison(operator, operand)
    if fulfils(Candidate("", {operand.path[0]: NO_DOCUMENT}, None), others):
        others = Or((Not(Exists(operand.path)), others))
    else:
        others = And((Exists(operand.path), others))
    return Or((And((here, ours)), And((Not(here), others))))


# Objects from `model_construct` may have values of any type, or lack fields.


def _items(filters: MetadataFilters) -> list[Any]:
    items = getattr(filters, "filters", None)
    if not isinstance(items, list | tuple):
        raise InvalidTypeError(f"filters of MetadataFilters is {quote(items)}, expected a list")
    return list(items)


def _condition(filters: MetadataFilters) -> FilterCondition:
    condition = filters.condition
    try:
        return FilterCondition.AND if condition is None else FilterCondition(condition)
    except ValueError:
        known = ", ".join(member.value for member in FilterCondition)
        raise InvalidFilterError(
            f"condition is {quote(condition)}, expected any of {known}"
        ) from None


def _operand(item: MetadataFilter) -> tuple[FilterOperator, Operand]:
    for name in ("key", "value"):
        if not hasattr(item, name):
            raise InvalidFilterError(f"a MetadataFilter has no {name}")
    if not isinstance(item.key, str):
        raise InvalidTypeError(f"key of a MetadataFilter is {quote(item.key)}, expected a str")
    try:
        operator = FilterOperator(item.operator)
    except ValueError:
        known = ", ".join(member.value for member in FilterOperator)
        raise InvalidFilterError(
            f"the filter {item.key!r} has the operator {quote(item.operator)}, expected any of "
            f"{known}"
        ) from None
    description = f"the filter {item.key!r} {operator.value} has the value"
    return operator, Operand((item.key,), item.value, description)


def _comparison(  # noqa: PLR0912 (one case an operator)
    operator: FilterOperator, operand: Operand
) -> Expression:
    path = operand.path
    match operator:
        case FilterOperator.EQ:
            return _equal(operand)
        case FilterOperator.NE:
            return Not(_equal(operand))
        case FilterOperator.GT:
            return _beyond(operand, "gt")
        case FilterOperator.GTE:
            return _beyond(operand, "gte")
        case FilterOperator.LT:
            return _beyond(operand, "lt")
        case FilterOperator.LTE:
            return _beyond(operand, "lte")
        case FilterOperator.IN:
            return OneOf(path, _as_tuple(operand))
        case FilterOperator.NIN:
            return Not(OneOf(path, _as_tuple(operand)))
        case FilterOperator.ANY:
            return Or(tuple(contains(path, value) for value in _as_tuple(operand)))
        case FilterOperator.ALL:
            return And(tuple(contains(path, value) for value in _as_tuple(operand)))
        case FilterOperator.CONTAINS:
            return contains(path, operand.scalar(SINGLE))
        case FilterOperator.TEXT_MATCH:
            return TextIn(path, operand.text())
        case FilterOperator.TEXT_MATCH_INSENSITIVE:
            return TextIn(path, operand.text(), ignore_case=True)
        case FilterOperator.IS_EMPTY:
            return Or((Not(Exists(path)), OneOf(path, ("",))))
    raise operand.error("an operator that is known")


def _beyond(operand: Operand, side: str) -> Expression:
    """A condition that a value is less or greater than the operand, a number, timestamp or string,
    as in `where` of a Collection. side: the comparison."""
    value = operand.value
    if isinstance(value, str):
        bound: dict[str, Any] = {side: value}
        return TextRange(operand.path, **bound)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise operand.error("a number or a string, which may be a time")
    return Range(operand.path, **{side: value})


def _equal(operand: Operand) -> Expression:
    if operand.value is None:
        return Not(Exists(operand.path))
    return OneOf(operand.path, (operand.scalar(SINGLE),))


def _as_tuple(operand: Operand) -> tuple[Any, ...]:
    if operand.value is None:
        raise operand.error("a list")
    values = operand.several()
    if not all(isinstance(value, str | int | float) for value in values):
        raise operand.error("strings or numbers")
    return tuple(values)


class AsLlamaIndex(BaseEmbedding):
    """An embedding function as a LlamaIndex `BaseEmbedding`."""

    hands_on: ClassVar[str] = "function"  # collections store the function, not this object
    _wrapped: WrappedFunction = PrivateAttr()

    def __init__(self, function: Any, **kwargs: Any) -> None:
        """Wrap an embedding function. The async methods run on a thread.

        Args:
            function: a function that takes a list of texts and returns a vector for each, or its
                registered name. Its `embed_query`, if it has one, embeds queries. Its exceptions
                are raised unchanged.
            **kwargs: fields of the base class. `model_name` defaults to the function's class and
                settings, so that caches distinguish functions.

        Raises:
            InvalidTypeError: an argument that the base class doesn't have.
        """
        refuse_unknown(kwargs, type(self).model_fields, "AsLlamaIndex")
        wrapped = WrappedFunction(function)
        kwargs.setdefault("model_name", _describe_function(wrapped.function))
        super().__init__(**kwargs)
        self._wrapped = wrapped

    @property
    def function(self) -> Any:
        """The embedding function."""
        return self._wrapped.function

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text the function reads, if it declares a limit."""
        return max_tokens_of(self.function)

    def count_tokens(self, texts: list[str]) -> Any:
        """The number of tokens of each text. Raises AttributeError if the function cannot count
        tokens."""
        return self.function.count_tokens(texts)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._wrapped.embed(texts)

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._wrapped.embed_query(query)

    _aget_text_embedding = async_twin(_get_text_embedding)
    _aget_text_embeddings = async_twin(_get_text_embeddings)
    _aget_query_embedding = async_twin(_get_query_embedding)


def _describe_function(function: Any) -> str:
    """A string that identifies a function in LlamaIndex's caches: its class, with its settings if
    it has any."""
    kind = type(function)
    settings = function.settings() if hasattr(function, "settings") else id(function)
    return f"{kind.__module__}.{kind.__qualname__} {settings}"
