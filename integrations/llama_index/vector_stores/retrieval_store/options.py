"""What is said of queries and of other calls by keyword, checked, in the terms of a Collection."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llama_index.core.vector_stores.types import (
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.vector_stores.retrieval_store.filters import to_expression
from llama_index.vector_stores.retrieval_store.nodes import of_documents
from llama_index.vector_stores.retrieval_store.reading import fields_of

from retrieval_store.api.results import GetField
from retrieval_store.base.arrays import plain_scalar
from retrieval_store.base.validation import fraction, shown, whole_number
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.expression import Expression
from retrieval_store.frameworks.collection import items_of, refuse_unknown, search_params_of
from retrieval_store.frameworks.filters import all_native

RESTRICTIONS = ("where", "where_document", "filter", "qdrant_filters")
OF_MMR = ("mmr_threshold", "mmr_prefetch_k", "mmr_prefetch_factor")
RERANKED = ("rerank", "rerank_from", "rerank_query")
SEARCHED = (  # as a Collection is
    *("exact", "ef", "offset", "max_distance", "min_score", "group_by", "group_size"),
    *RERANKED,
)
FUSIONS = ("adaptive", "rrf", "weighted")
OF_QUERIES = (*RESTRICTIONS, "include", *SEARCHED, "search_params", "fusion", *OF_MMR)
_PREFETCH = 4  # times similarity_top_k


@dataclass(frozen=True, slots=True)
class Options:
    """What is said beside a query. among: to what it is restricted; fields: what a collection is
    asked for; how: the others of its arguments, those that were given; fusion: as it was given."""

    among: dict[str, Any]
    fields: tuple[GetField, ...]
    how: dict[str, Any]
    fusion: Any
    mmr: Mapping[str, Any]

    @property
    def offset(self) -> int:
        """How many of the best are left out."""
        offset = self.how.get("offset")
        return 0 if offset is None else whole_number(offset, "offset", 0)


def options_of(query: VectorStoreQuery, kwargs: Mapping[str, Any]) -> Options:
    """The keywords of `query`; raises InvalidArgumentError for one that isn't known, can't be, or
    means nothing in the query's mode."""
    refuse_unknown(kwargs, OF_QUERIES, "query")
    given = {name: value for name, value in kwargs.items() if value is not None}
    if query.mode != VectorStoreQueryMode.MMR:
        _refuse_outside(given, OF_MMR, "mmr", query.mode)
    if query.mode != VectorStoreQueryMode.HYBRID:
        _refuse_outside(given, ("fusion",), "hybrid", query.mode)
    how = {name: given[name] for name in SEARCHED if name in given}
    for name, value in search_params_of(given.get("search_params")).items():
        if how.setdefault(name, value) != value:
            raise InvalidArgumentError(
                f"{name} is {shown(how[name])}, but search_params say {shown(value)}"
            )
    ids, documents = ids_of(query.node_ids, "node_ids"), ids_of(query.doc_ids, "doc_ids")
    return Options(
        {
            "ids": ids or None,
            **restricted(
                query.filters, given, of_documents(tuple(documents)) if documents else None
            ),
        },
        fields_of(given.get("include")),
        how,
        None if given.get("fusion") is None else checked_fusion(given["fusion"], "fusion"),
        {name: given[name] for name in OF_MMR if name in given},
    )


def ids_of(given: Any, name: str) -> list[str] | None:
    """The ids, each once; None where none are given. Raises InvalidTypeError for what is no list of
    them."""
    return None if given is None else list(dict.fromkeys(items_of(given, name, str)))


def restricted(
    filters: MetadataFilters | None, kwargs: Mapping[str, Any], documents: Expression | None = None
) -> dict[str, Any]:
    """The `where` and `where_document` of a Collection: all that restricts, at once."""
    given = {
        "filters": to_expression(filters),
        "doc_ids": documents,
        **{name: kwargs.get(name) for name in RESTRICTIONS if name != "where_document"},
    }
    return {"where": all_native(given), "where_document": kwargs.get("where_document") or None}


def checked_fusion(given: Any, name: str) -> Any:
    """How two results become one: the name of a way, or a function."""
    if callable(given) or (isinstance(given, str) and given in FUSIONS):
        return given
    raise InvalidArgumentError(
        f"{name} is {shown(given)}, expected one of {FUSIONS}, or a function of two results"
    )


def threshold_of(query: VectorStoreQuery, given: Mapping[str, Any]) -> float:
    """How much relevance counts against variety."""
    asked = fraction(0.5 if query.mmr_threshold is None else query.mmr_threshold, "mmr_threshold")
    return fraction(given["mmr_threshold"], "mmr_threshold") if "mmr_threshold" in given else asked


def prefetched(top: int, given: Mapping[str, Any]) -> int:
    """How many candidates the most diverse are chosen from, at least as many as these."""
    if "mmr_prefetch_k" in given:
        if "mmr_prefetch_factor" in given:
            raise InvalidArgumentError("give mmr_prefetch_k or mmr_prefetch_factor, not both")
        return max(top, whole_number(given["mmr_prefetch_k"], "mmr_prefetch_k", 1))
    factor = plain_scalar(given.get("mmr_prefetch_factor", _PREFETCH))
    is_number = isinstance(factor, int | float) and not isinstance(factor, bool)
    if not is_number or not 0 < factor * top <= sys.maxsize:
        raise InvalidArgumentError(
            f"mmr_prefetch_factor is {shown(factor)}, expected a number above 0"
        )
    return max(top, int(factor * top))


def _refuse_outside(
    given: Mapping[str, Any], names: tuple[str, ...], mode: str, asked: VectorStoreQueryMode
) -> None:
    for name in names:
        if name in given:
            raise InvalidArgumentError(f"{name} goes with mode {mode!r}, not {asked.value!r}")
