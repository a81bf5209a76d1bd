"""What users of LangChain say of a search, as a collection is asked it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Any, Literal, TypeAlias, get_args

from langchain_retrieval_store.documents import FIELDS, Layout
from retrieval_store import Collection
from retrieval_store.base.fusion import usual_fusion
from retrieval_store.base.validation import fraction, shown, whole_number
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.expression import Expression
from retrieval_store.frameworks.collection import refuse_unknown, search_params_of
from retrieval_store.frameworks.filters import diverse

Filter: TypeAlias = Any  # a dict, an expression, or a Filter of qdrant-client's models
SearchMode: TypeAlias = Literal["dense", "text", "sparse", "hybrid"]
MODES = get_args(SearchMode)
KNOWN = (
    *("filter", "where_document", "search_mode", "alpha", "fusion", "depth", "exact", "ef"),
    *("search_params", "offset", "max_distance", "min_score", "score_threshold", "group_by"),
    *("group_size", "rerank", "rerank_from", "rerank_query"),
)
_PASSED = (
    *("exact", "ef", "depth", "offset", "max_distance", "min_score", "group_by", "group_size"),
    *("rerank", "rerank_from", "rerank_query"),
)
_DIVERSE = ("offset", "group_by", "group_size", "rerank")  # with which no diverse choice goes


@dataclass(frozen=True, slots=True)
class Ask:
    """How to search. mode: one of MODES, hybrid only where both sides count; threshold: the least
    relevance; passed: what goes to `Collection.query` as it is."""

    where: Expression | None
    where_document: Mapping[str, Any] | None
    mode: SearchMode
    alpha: float | None
    fusion: Any
    threshold: float | None
    passed: dict[str, Any]

    @property
    def by_distance(self) -> bool:
        """Whether scores are distances."""
        return self.mode == "dense" and not self.is_reranked

    @property
    def is_reranked(self) -> bool:
        """Whether a re-ranker puts the hits in order."""
        return "rerank" in self.passed

    @property
    def by_vector(self) -> bool:
        """Whether the query must be embedded."""
        return self.mode in ("dense", "hybrid")

    def by_sparse(self, has_model: bool) -> bool:
        """Whether the query must be made a sparse vector, where there may be a model for that."""
        return self.mode == "sparse" or (self.mode == "hybrid" and has_model)


def asked(
    layout: Layout,
    filter: Filter,
    given: Mapping[str, Any],
    usual: SearchMode,
    has_sparse: bool,
) -> Ask:
    """What the arguments of a search mean. usual: the mode where none is given; has_sparse: whether
    there is a model of sparse vectors, which then stand for words in hybrid searches."""
    refuse_unknown(given, KNOWN, "a search")
    mode, alpha = mode_of(given.get("search_mode") or usual), given.get("alpha")
    alpha = None if alpha is None else fraction(alpha, "alpha")
    if mode == "hybrid" and alpha == 1:
        mode = "dense"
    elif mode == "hybrid" and alpha == 0:
        mode = "sparse" if has_sparse else "text"
    threshold = given.get("score_threshold")
    passed = {name: given[name] for name in _PASSED if given.get(name) is not None}
    if "group_by" in passed:
        passed["group_by"] = layout.key(passed["group_by"])
    return Ask(
        layout.where(filter),
        given.get("where_document") or None,
        mode,
        alpha,
        given.get("fusion") or usual_fusion(not has_sparse, alpha),
        None if threshold is None else fraction(threshold, "score_threshold"),
        {**search_params_of(given.get("search_params")), **passed},
    )


def mode_of(given: Any, name: str = "search_mode") -> SearchMode:
    """A mode by its name, which may be a member of an enum of strings."""
    mode: Any = given.value if isinstance(given, Enum) else given
    if mode not in MODES:
        raise InvalidArgumentError(f"{name} is {shown(given)}, expected one of {MODES}")
    return mode  # type: ignore[no-any-return]


def count_of(value: Any, name: str = "k") -> int:
    """A number of documents, which may be less than 1; raises InvalidTypeError."""
    return whole_number(value, name, -sys.maxsize)


def arguments(ask: Ask, k: int, sources: Mapping[str, Any], *include: str) -> dict[str, Any]:
    """Those of `Collection.query`. sources: what to search for, by the names of its arguments."""
    how: dict[str, Any] = {"mode": ask.mode, **ask.passed}
    if ask.mode == "hybrid":
        how |= {"alpha": ask.alpha, "fusion": ask.fusion}
    return {
        **sources,
        **how,
        "n_results": k,
        "where": ask.where,
        "where_document": ask.where_document,
        "include": (*FIELDS, *include),
    }


def found_by(
    collection: Collection, ask: Ask, k: int, sources: Mapping[str, Any], *include: str
) -> dict[str, Any]:
    """What one query found: a list for each field; "scores" are distances where a search
    goes by these."""
    found: Mapping[str, Any] = collection.query(**arguments(ask, k, sources, "distances", *include))
    one = {key: value[0] for key, value in found.items() if key != "included" and value}
    scores = one["distances"] if ask.by_distance else one["scores"]
    # What a re-ranker had no text for comes last.
    return {**one, "scores": [-inf if score is None else float(score) for score in scores]}


def chosen(
    collection: Collection,
    ask: Ask,
    k: int,
    fetch_k: int,
    lambda_mult: float,
    sources: Mapping[str, Any],
    vector: Sequence[float],
) -> tuple[dict[str, Any], list[int]]:
    """What the `fetch_k` best are, and the places of k of them, near the vector and unlike each
    other. lambda_mult 1: the best in their own order."""
    weight = fraction(lambda_mult, "lambda_mult")
    for name in _DIVERSE:
        if ask.passed.get(name):
            raise InvalidArgumentError(f"{name} doesn't go with maximal marginal relevance")
    count = max(k, count_of(fetch_k, "fetch_k"))
    found = found_by(collection, ask, count, sources, "embeddings")
    if weight == 1:
        return found, list(range(min(k, len(found["ids"]))))
    return found, diverse(vector, found["embeddings"], k, weight)


def explained(collection: Collection, ask: Ask, k: int, sources: Mapping[str, Any]) -> Any:
    """How a search is answered."""
    return collection.explain(**arguments(ask, k, sources, "distances"))
