"""`Collection.search`: answers searches in Chroma's form by one query of our store.

All `Knn` of all searches become steps of one query, which sees one snapshot. Texts are embedded in
one call. The hits are scored and grouped; `limit` and `offset` then select some of them. A search
without a rank is a page of `get`.

- Conditions, in `where` and on ids, become filter expressions (`expression_of`).
- Scores are expressions over rankings (`rankings_of`, `score_records`). The store ranks records, in
  one step for each `Knn`. The rest is arithmetic on the distances of the hits, in one column for
  each `Knn`. A record gets a score if at least one `Knn` found it, and if every `Knn` without a
  default found it.
- Groups (`group_records`) have a few records each, with the same values under some metadata keys.
  Only hits are grouped.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np
import orjson

from retrieval_store.api.arguments import complete_texts_of, ids_of, matrix_of, sparse_of
from retrieval_store.api.chroma.expressions import (
    DOCUMENT,
    EMBEDDING,
    ID,
    KNN_LIMIT,
    METADATA,
    SCORE,
    Form,
    Search,
)
from retrieval_store.api.configuration import require_sparse
from retrieval_store.api.results import SPACE, SPARSE
from retrieval_store.base.arrays import Floats, plain_scalar
from retrieval_store.base.validation import Payload, kind_of, quote, whole_number
from retrieval_store.errors import InvalidArgumentError, InvalidFilterError, InvalidTypeError
from retrieval_store.filters.nodes import MAX_DEPTH, Expression, HasId, Not, all_of
from retrieval_store.filters.where import JUNCTIONS, parse_where
from retrieval_store.query.query import NearestDense, NearestSparse, Query, QueryStep
from retrieval_store.query.types import CollectionRecord, Fields, Hits, Points

if TYPE_CHECKING:
    from retrieval_store.api.embedder import Embedder
    from retrieval_store.query.protocols import PointsBackend

_OF_IDS = {"$eq": (False, False), "$in": (False, True), "$ne": (True, False), "$nin": (True, True)}
_UNKNOWN = (EMBEDDING, METADATA, SCORE)


def expression_of(form: Mapping[str, Any], depth: int = 1) -> Expression:
    """The expression that a condition in Chroma's form describes; raises InvalidFilterError."""
    if depth > MAX_DEPTH:
        raise InvalidFilterError(f"the filter is nested deeper than {MAX_DEPTH} levels")
    if not isinstance(form, Mapping) or not form:
        return parse_where(form)  # which says what is wrong
    expression = all_of(*(_term(key, operand, depth) for key, operand in form.items()))
    assert expression is not None
    return expression


def _term(key: Any, operand: Any, depth: int) -> Expression:
    if key in JUNCTIONS and isinstance(operand, list | tuple) and operand:
        return JUNCTIONS[key](tuple(expression_of(part, depth + 1) for part in operand))
    if key == "$not":
        return Not(expression_of(operand, depth + 1))
    if key == ID:
        return _parse_ids(operand)
    if key in _UNKNOWN:
        raise InvalidFilterError(
            f"where has {key!r}: conditions are on metadata keys, K.DOCUMENT and K.ID; scores and "
            "vectors are known only when records have been found"
        )
    return parse_where({key: operand})


def _parse_ids(operand: Any) -> Expression:
    """A condition on ids. The operand is one id, or a dict from an operator to one or several
    ids."""
    operators = operand if isinstance(operand, Mapping) else {"$eq": operand}
    terms: list[Expression] = []
    for operator, value in operators.items():
        if operator not in _OF_IDS:
            raise InvalidFilterError(
                f"where[{ID!r}] has {quote(operator)}, expected one of {', '.join(_OF_IDS)}"
            )
        is_not, are_several = _OF_IDS[operator]
        place = f"where[{ID!r}][{operator!r}]"
        ids = HasId(tuple(ids_of(value if are_several else [value], place)), are_shown=True)
        terms.append(Not(ids) if is_not else ids)
    expression = all_of(*terms)
    if expression is None:
        raise InvalidFilterError(f"where[{ID!r}] is {quote(operand)}, expected ids")
    return expression


_LEAST = {"$min_k": True, "$max_k": False}
_Sorted: TypeAlias = tuple[int, Any]  # by kinds first, since values of two can't be compared


@dataclass(frozen=True, slots=True)
class Grouping:
    """How records are grouped. keys: records with equal values under these keys form a group; by:
    the keys by which a group is sorted, ascending if `least`; size: how many of the first records
    of a group are kept."""

    keys: tuple[str, ...]
    by: tuple[str, ...]
    size: int
    least: bool


def grouping_of(form: Mapping[str, Any]) -> Grouping | None:
    """The grouping that a dict describes; None for an empty dict."""
    if not form:
        return None
    aggregate = form["aggregate"]
    if len(aggregate) != 1 or next(iter(aggregate)) not in _LEAST:
        raise InvalidArgumentError(
            f"group_by['aggregate'] is {quote(aggregate)}, expected '$min_k' or '$max_k'"
        )
    ((operator, operand),) = aggregate.items()
    place = f"group_by['aggregate'][{operator!r}]"
    if not isinstance(operand, Mapping) or {*operand} != {"keys", "k"}:
        raise InvalidTypeError(f"{place} is {quote(operand)}, expected keys and k")
    size = whole_number(operand["k"], f"{place}['k']", 1)
    keys, sort_keys = (
        _keys(form["keys"], "group_by['keys']"),
        _keys(operand["keys"], f"{place}['keys']"),
    )
    if SCORE in keys:
        raise InvalidArgumentError("group_by['keys'] has K.SCORE, expected metadata keys")
    return Grouping(keys, sort_keys, size, _LEAST[operator])


def _keys(value: Any, place: str) -> tuple[str, ...]:
    """Metadata keys, which may include K.SCORE."""
    if not isinstance(value, list | tuple) or not value:
        raise InvalidTypeError(f"{place} is {quote(value)}, expected keys")
    for key in value:
        if not isinstance(key, str) or not key or (key[0] == "#" and key != SCORE):
            raise InvalidArgumentError(f"{place} has {quote(key)}, expected metadata keys")
    return tuple(value)


def group_records(
    grouping: Grouping, payloads: Sequence[Payload | None], scores: Floats
) -> list[int]:
    """The positions of the records to keep, ascending. A record without a value under a key is
    sorted before records with a value."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, payload in enumerate(payloads):
        values = tuple(kind_of((payload or {}).get(key)) for key in grouping.keys)
        groups.setdefault(values, []).append(place)
    numbers = scores.tolist()

    def order(place: int) -> list[_Sorted]:
        read = {**(payloads[place] or {}), SCORE: numbers[place]}
        return [_comparable(read.get(key)) for key in grouping.by]

    chosen: list[int] = []
    for places in groups.values():
        chosen += sorted(places, key=order, reverse=not grouping.least)[: grouping.size]
    return sorted(chosen)


def _comparable(value: Any) -> _Sorted:
    if value is None:
        return 0, 0
    if isinstance(value, bool):
        return 1, value
    if isinstance(value, int | float):
        return 2, value
    return (3, value) if isinstance(value, str) else (4, orjson.dumps(value))


_KNN = ("query", "key", "limit", "default", "return_rank")
_UNARY: dict[str, Callable[[Floats], Floats]] = {"$abs": np.abs, "$exp": np.exp, "$log": np.log}
_PAIRS: dict[str, Callable[[Floats, Floats], Floats]] = {"$sub": np.subtract, "$div": np.divide}
_SEVERAL: dict[str, Callable[[Floats, Floats], Floats]] = {
    "$sum": np.add,
    "$mul": np.multiply,
    "$max": np.maximum,
    "$min": np.minimum,
}
OPERATORS = ("$knn", "$val", *_SEVERAL, *_PAIRS, *_UNARY)


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The ranking of one `Knn`. place: the position of the `Knn` in the whole expression, for error
    messages."""

    query: Any
    key: str
    limit: int
    default: float | None
    return_rank: bool
    place: str


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The records that have a score. places: for each record, the number of a ranking that contains
    the record, and the record's position in that ranking; scores: (n,) float64, the lowest
    first."""

    places: list[tuple[int, int]]
    scores: Floats


def rankings_of(form: Any, place: str = "rank", depth: int = 1) -> list[Ranking]:
    """The rankings in an expression, in the order in which they occur. Raises InvalidArgumentError
    for an invalid expression."""
    if depth > MAX_DEPTH:
        raise InvalidArgumentError(f"rank is nested deeper than {MAX_DEPTH} levels")
    if not isinstance(form, Mapping) or len(form) != 1:
        raise InvalidTypeError(f"{place} is {quote(form)}, expected a dict with one operator")
    ((operator, operand),) = form.items()
    operator_place = f"{place}[{operator!r}]"
    if operator == "$knn":
        return [_ranking(operand, operator_place)]
    if operator == "$val":
        _number(operand, operator_place)
        return []
    rankings: list[Ranking] = []
    for name, term in _terms(operator, operand, operator_place):
        rankings += rankings_of(term, name, depth + 1)
    return rankings


def _terms(operator: Any, operand: Any, place: str) -> list[tuple[str, Any]]:
    """The operands of an operator, with their positions for error messages."""
    if operator in _UNARY:
        return [(place, operand)]
    if operator in _SEVERAL:
        if not isinstance(operand, list | tuple) or not operand:
            raise InvalidTypeError(f"{place} is {quote(operand)}, expected a list of ranks")
        return [(f"{place}[{i}]", term) for i, term in enumerate(operand)]
    if operator in _PAIRS:
        if not isinstance(operand, Mapping) or {*operand} != {"left", "right"}:
            raise InvalidTypeError(f"{place} is {quote(operand)}, expected left and right")
        return [(f"{place}[{side!r}]", operand[side]) for side in ("left", "right")]
    raise InvalidArgumentError(f"{place}: expected one of {', '.join(OPERATORS)}")


def _ranking(operand: Any, place: str) -> Ranking:
    if not isinstance(operand, Mapping) or "query" not in operand:
        raise InvalidTypeError(f"{place} is {quote(operand)}, expected a dict with a query")
    if unknown := [name for name in operand if name not in _KNN]:
        raise InvalidArgumentError(f"{place} has {quote(unknown[0])}, expected {', '.join(_KNN)}")
    key, default = operand.get("key", EMBEDDING), operand.get("default")
    return_rank = operand.get("return_rank", False)
    if not isinstance(key, str) or not key:
        raise InvalidTypeError(f"{place}['key'] is {quote(key)}, expected a key")
    if not isinstance(return_rank, bool):
        raise InvalidTypeError(f"{place}['return_rank'] is {quote(return_rank)}, expected a bool")
    return Ranking(
        operand["query"],
        key,
        whole_number(operand.get("limit", KNN_LIMIT), f"{place}['limit']", 1),
        None if default is None else _number(default, f"{place}['default']"),
        return_rank,
        place,
    )


def _number(value: Any, place: str) -> float:
    number = plain_scalar(value)
    with suppress(OverflowError):  # of an integer that no float holds
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if is_number and not math.isnan(number):
            return float(number)
    raise InvalidTypeError(f"{place} is {quote(value)}, expected a number")


def score_records(
    form: Form,
    rankings: Sequence[Ranking],
    ids: Sequence[Sequence[Any]],
    distances: Sequence[Floats],
) -> Scored:
    """The records to which an expression gives a score. ids, distances: the records that each
    ranking has found, nearest first. Records with equal scores are in the order in which they were
    first found."""
    rows: dict[Any, int] = {}
    for ids_of_ranking in ids:
        for point_id in ids_of_ranking:
            rows.setdefault(point_id, len(rows))
    first = np.full((len(rows), 2), -1)
    counts = np.ones(len(rows), np.bool_)
    columns: list[Floats] = []
    for i, (ranking, ids_of_ranking, far) in enumerate(zip(rankings, ids, distances, strict=True)):
        at = np.fromiter(map(rows.__getitem__, ids_of_ranking), np.int64, len(ids_of_ranking))
        column = np.full(len(rows), np.nan if ranking.default is None else ranking.default)
        column[at] = np.arange(len(ids_of_ranking)) if ranking.return_rank else far
        columns.append(column)
        new = first[at, 0] < 0
        first[at[new], 0], first[at[new], 1] = i, np.flatnonzero(new)
        if ranking.default is None:
            counts &= np.isin(np.arange(len(rows)), at)
    with np.errstate(all="ignore"):  # what isn't a number is told apart below
        scores = _value(form, iter([column[counts] for column in columns]), int(counts.sum()))
    if np.isnan(scores).any():
        raise InvalidArgumentError("rank: the score isn't a number for some record")
    order = np.argsort(scores, kind="stable")
    places = [(i, place) for i, place in first[counts][order].tolist()]
    return Scored(places, scores[order])


def _value(form: Form, columns: Iterator[Floats], count: int) -> Floats:
    """(count,) float64: the values of an expression, which must be valid. columns: the values of
    its rankings, in the order of `rankings_of`."""
    ((operator, operand),) = form.items()
    if operator == "$knn":
        return next(columns)
    if operator == "$val":
        return np.full(count, float(operand))
    values = [_value(term, columns, count) for _, term in _terms(operator, operand, "rank")]
    if operator in _UNARY:
        return _UNARY[operator](values[0])
    return reduce({**_PAIRS, **_SEVERAL}[operator], values)


class SearchRow(TypedDict, total=False):
    """A found record: its id, and the selected fields that it has."""

    id: str
    document: str
    embedding: list[float]
    metadata: dict[str, Any]
    score: float


_COLUMNS = {
    "documents": "document",
    "embeddings": "embedding",
    "metadatas": "metadata",
    "scores": "score",
}


class SearchResult(dict[str, Any]):
    """Lists under "ids", "documents", "embeddings", "metadatas" and "scores", with an item for each
    search. An item is a list with the value of each record, or None if the field was not selected.
    "select" has the names of the selected fields."""

    def rows(self) -> list[list[SearchRow]]:
        """The records of each search as a list of dicts."""
        return [self._rows(i, ids) for i, ids in enumerate(self["ids"])]

    def _rows(self, search: int, ids: list[str]) -> list[SearchRow]:
        rows = [SearchRow(id=point_id) for point_id in ids]
        for column, name in _COLUMNS.items():
            values = self[column][search]
            for row, value in zip(rows, values if values is not None else (), strict=False):
                if value is not None:
                    row[name] = value  # type: ignore[literal-required]
        return rows


SELECTED = (ID, DOCUMENT, EMBEDDING, METADATA, SCORE)


@dataclass(frozen=True, slots=True, eq=False)
class _CheckedSearch:
    """A search whose parts are valid. rank: None for the order of insertion; rankings: the rankings
    in `rank`."""

    expression: Expression | None
    rank: Mapping[str, Any] | None
    rankings: list[Ranking]
    grouping: Grouping | None
    offset: int
    limit: int | None
    select: list[str]

    @property
    def fields(self) -> Fields:
        """The fields to read."""
        keys = [name for name in self.select if not name.startswith("#")]
        return Fields(
            payload=bool(keys) or METADATA in self.select or self.grouping is not None,
            document=DOCUMENT in self.select,
            vectors=(SPACE,) if EMBEDDING in self.select else (),
        )

    @property
    def window(self) -> slice:
        """The slice of the found records to return."""
        return slice(self.offset, None if self.limit is None else self.offset + self.limit)

    def limit_of(self, ranking: Ranking) -> int:
        """How many candidates to find for a ranking. If `rank` consists of this ranking alone, as
        many candidates are enough as records are returned."""
        is_all = self.rank is not None and "$knn" in self.rank and self.grouping is None
        if not is_all or self.limit is None:
            return ranking.limit
        return min(ranking.limit, self.offset + self.limit)


def run_searches(
    points: "PointsBackend",
    embedder: "Embedder",
    record: Callable[[], CollectionRecord],
    searches: Any,
    found_nothing: Callable[[Expression | None], Any],
) -> SearchResult:
    """The results of searches, in their order. embedder: the collection's embedder; record: a
    function that returns the collection's record; found_nothing: a function that is called with the
    filter of each search that has no hits."""
    checked = [_check_search(search, place) for search, place in _searches(searches)]
    hits = iter(_hits(points, embedder, record, checked))
    columns = [
        _columns_of_page(points, search)
        if search.rank is None
        else _columns_of_hits(search, search.rank, [next(hits) for _ in search.rankings])
        for search in checked
    ]
    for search, page in zip(checked, columns, strict=True):
        if not page["ids"]:
            found_nothing(search.expression)
    names = ("ids", "documents", "embeddings", "metadatas", "scores")
    columns_by_name = {name: [page[name] for page in columns] for name in names}
    return SearchResult(columns_by_name, select=[search.select for search in checked])


def _searches(searches: Any) -> list[tuple[Search, str]]:
    """The searches as a list, each with its name for error messages."""
    if isinstance(searches, Mapping) or hasattr(searches, "to_dict"):
        return [(_search_of(searches, "searches"), "searches")]
    if isinstance(searches, str) or not isinstance(searches, Sequence):
        raise InvalidTypeError(f"searches is {quote(searches)}, expected a Search or several")
    if not searches:
        raise InvalidArgumentError("searches is empty, expected at least one Search")
    places = [f"searches[{i}]" for i in range(len(searches))]
    return [(_search_of(search, name), name) for search, name in zip(searches, places, strict=True)]


def _search_of(value: Any, place: str) -> Search:
    """A search, from an object of this package, an object of Chroma, or a dict."""
    form = value.to_dict() if hasattr(value, "to_dict") else value
    if not isinstance(form, Mapping):
        raise InvalidTypeError(f"{place} is {quote(value)}, expected a Search")
    return Search.from_dict(form)


def _check_search(search: Search, place: str) -> _CheckedSearch:
    form = search.to_dict()
    rank, condition = form["rank"], form["filter"]
    rankings = [] if rank is None else rankings_of(rank)
    grouping = grouping_of(form["group_by"])
    if rank is not None and not rankings:
        raise InvalidArgumentError(f"{place}: rank has no Knn, expected at least one")
    if rank is None and grouping is not None:
        raise InvalidArgumentError(f"{place}: group_by goes with rank, by which records are found")
    sparse = {ranking.key for ranking in rankings} - {EMBEDDING}
    if len(sparse) > 1:
        raise InvalidArgumentError(
            f"{place}: rank searches {', '.join(sorted(sparse))}, but a collection has one kind of "
            "sparse vectors"
        )
    select = form["select"]["keys"]
    for name in select:
        if name.startswith("#") and name not in SELECTED:
            raise InvalidArgumentError(
                f"{place}: select has {quote(name)}, expected a metadata key or one of "
                f"{', '.join(SELECTED)}"
            )
    return _CheckedSearch(
        None if condition is None else expression_of(condition),
        rank,
        rankings,
        grouping,
        form["limit"]["offset"],
        form["limit"].get("limit"),
        select,
    )


def _hits(
    points: "PointsBackend",
    embedder: "Embedder",
    record: Callable[[], CollectionRecord],
    checked: Sequence[_CheckedSearch],
) -> list[Hits]:
    """The hits of each ranking of each search, all from one state of the collection."""
    searched = [(search, ranking) for search in checked for ranking in search.rankings]
    if not searched:
        return []
    queries = _queries([ranking for _, ranking in searched], embedder, record)
    steps = tuple(
        QueryStep(scoring, search.limit_of(ranking), search.expression)
        for (search, ranking), scoring in zip(searched, queries, strict=True)
    )
    read = [search.fields for search in checked if search.rankings]
    fields = Fields(
        payload=any(selected.payload for selected in read),
        document=any(selected.document for selected in read),
        vectors=(SPACE,) if any(selected.vectors for selected in read) else (),
    )
    return points.ask(Query(steps, fields))


def _queries(
    rankings: Sequence[Ranking],
    embedder: "Embedder",
    record: Callable[[], CollectionRecord],
) -> Iterator[NearestDense | NearestSparse]:
    texts = [
        ranking.query
        for ranking in rankings
        if ranking.key == EMBEDDING and isinstance(ranking.query, str)
    ]
    plain = complete_texts_of(texts, "query")
    vectors = iter(embedder.embed_query(plain)) if texts else iter(())
    for ranking in rankings:
        if ranking.key != EMBEDDING:
            require_sparse(f"{ranking.place}['key'] {ranking.key!r}", record())
            yield _sparse(ranking)
        elif isinstance(ranking.query, str):
            yield NearestDense(SPACE, next(vectors)[np.newaxis])
        else:
            yield NearestDense(SPACE, _vector(ranking))


def _vector(ranking: Ranking) -> Any:
    """The vector of a ranking's query, as (1, dim) float32."""
    if isinstance(ranking.query, Mapping):
        raise InvalidArgumentError(
            f"{ranking.place}['query'] is a sparse vector, but the key is {EMBEDDING!r}, where "
            "vectors are dense: sparse ones are searched by another key, such as 'sparse'"
        )
    matrix = matrix_of(ranking.query, f"{ranking.place}['query']")
    if len(matrix) != 1:
        raise InvalidArgumentError(
            f"{ranking.place}['query'] has {len(matrix)} vectors, expected one"
        )
    return matrix


def _sparse(ranking: Ranking) -> NearestSparse:
    if ranking.key.startswith("#"):
        raise InvalidArgumentError(
            f"{ranking.place}['key'] is {ranking.key!r}, which isn't searched by vectors; expected "
            f"{EMBEDDING!r} or a name for the sparse ones"
        )
    if not isinstance(ranking.query, Mapping):
        raise InvalidTypeError(
            f"{ranking.place}['query'] is {quote(ranking.query)}, but key {ranking.key!r} has "
            "sparse vectors, and a collection has no function that makes them: pass what "
            "embed_query of a sparse embedding function gives, or ask by words with "
            "query(mode='hybrid')"
        )
    (vector,) = sparse_of(ranking.query, f"{ranking.place}['query']")
    assert vector is not None
    return NearestSparse(SPARSE, (vector,))


def _columns_of_page(points: "PointsBackend", search: _CheckedSearch) -> dict[str, Any]:
    """The columns of the result of a search without a rank."""
    records = points.get(None, search.expression, search.limit, search.offset, search.fields)
    places = [(0, place) for place in range(len(records.ids))]
    return _columns(search, [records], Scored(places, np.full(len(places), np.nan)))


def _columns_of_hits(
    search: _CheckedSearch, rank: Mapping[str, Any], hits: Sequence[Hits]
) -> dict[str, Any]:
    """The columns of the result of a search with a rank."""
    read = [hit.points for hit in hits]
    distances = [
        _distances(ranking, hit) for ranking, hit in zip(search.rankings, hits, strict=True)
    ]
    scored = score_records(rank, search.rankings, [batch.ids for batch in read], distances)
    if search.grouping is not None:
        payloads = [(read[i].payloads or [])[place] for i, place in scored.places]
        chosen = group_records(search.grouping, payloads, scored.scores)
        scored = Scored([scored.places[i] for i in chosen], scored.scores[chosen])
    return _columns(
        search, read, Scored(scored.places[search.window], scored.scores[search.window])
    )


def _distances(ranking: Ranking, hit: Hits) -> Floats:
    if ranking.key != EMBEDDING:
        return 1.0 - hit.scores
    assert hit.distances is not None or not len(hit.scores)
    return hit.scores if hit.distances is None else hit.distances


def _columns(search: _CheckedSearch, read: Sequence[Points], scored: Scored) -> dict[str, Any]:
    """The fields of the result of one search, by name; a field that was not selected is None."""
    keys = [name for name in search.select if not name.startswith("#")]
    columns: dict[str, Any] = dict.fromkeys(("documents", "embeddings", "metadatas", "scores"))
    columns["ids"] = [str(read[i].ids[place]) for i, place in scored.places]
    if DOCUMENT in search.select:
        columns["documents"] = [(read[i].documents or [])[place] for i, place in scored.places]
    if EMBEDDING in search.select:
        columns["embeddings"] = [_embedding(read[i], place) for i, place in scored.places]
    if METADATA in search.select or keys:
        payloads = [(read[i].payloads or [])[place] for i, place in scored.places]
        selected_keys = None if METADATA in search.select else {*keys}
        columns["metadatas"] = [_select_keys(payload, selected_keys) for payload in payloads]
    if SCORE in search.select and search.rank is not None:
        columns["scores"] = scored.scores.tolist()
    return columns


def _embedding(points: Points, place: int) -> list[float] | None:
    matrix = (points.vectors or {}).get(SPACE)
    if not isinstance(matrix, np.ndarray) or np.isnan(matrix[place]).any():
        return None
    vector: list[float] = matrix[place].tolist()
    return vector


def _select_keys(payload: Any, keys: set[str] | None) -> Any:
    if payload is None or keys is None:
        return payload
    return {key: value for key, value in payload.items() if key in keys}
