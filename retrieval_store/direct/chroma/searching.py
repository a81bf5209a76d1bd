"""`Collection.search`: searches as Chroma's code writes them, asked of our stores.

All `Knn` of all searches become the steps of one question, so one state answers them; texts are
embedded in one call. What they have found is scored by `scoring`, grouped by `grouping`, and cut to
the window. A search without a rank is a page of `get`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval_store.base.arrays import Floats
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import shown
from retrieval_store.direct.arguments import complete_texts_of, matrix_of, sparse_of
from retrieval_store.direct.chroma.conditions import expression_of
from retrieval_store.direct.chroma.expressions import (
    DOCUMENT,
    EMBEDDING,
    ID,
    METADATA,
    SCORE,
    Search,
)
from retrieval_store.direct.chroma.found import SearchResult
from retrieval_store.direct.chroma.grouping import Grouping, grouped, grouping_of
from retrieval_store.direct.chroma.scoring import Ranking, Scored, rankings_of, scored
from retrieval_store.direct.configuration import refuse_no_sparse
from retrieval_store.direct.results import SPACE, SPARSE
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError
from retrieval_store.filters.nodes import Expression
from retrieval_store.query.query import Near, Question, Sparse, Step
from retrieval_store.query.types import CollectionRecord, Fields, Hits, Points

if TYPE_CHECKING:
    from retrieval_store.direct.probing import ProbedEmbedder
    from retrieval_store.query.protocols import PointsBackend

SELECTED = (ID, DOCUMENT, EMBEDDING, METADATA, SCORE)


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """One search, checked. rank: None for the order of insertion; rankings: those of which the rank
    is made."""

    expression: Expression | None
    rank: Mapping[str, Any] | None
    rankings: list[Ranking]
    grouping: Grouping | None
    offset: int
    limit: int | None
    select: list[str]

    @property
    def fields(self) -> Fields:
        """What is read of records."""
        keys = [name for name in self.select if not name.startswith("#")]
        return Fields(
            payload=bool(keys) or METADATA in self.select or self.grouping is not None,
            document=DOCUMENT in self.select,
            vectors=(SPACE,) if EMBEDDING in self.select else (),
        )

    @property
    def window(self) -> slice:
        """Which of the records that were found are shown."""
        return slice(self.offset, None if self.limit is None else self.offset + self.limit)

    def wanted(self, ranking: Ranking) -> int:
        """How many records a ranking has to find: where it is all of the rank, those that are
        shown."""
        is_all = self.rank is not None and "$knn" in self.rank and self.grouping is None
        if not is_all or self.limit is None:
            return ranking.limit
        return min(ranking.limit, self.offset + self.limit)


def searched(
    points: "PointsBackend",
    embedder: "Callable[[], ProbedEmbedder]",
    record: Callable[[], CollectionRecord],
    searches: Any,
) -> SearchResult:
    """What some searches find, one after the other. embedder: returns the one of the collection's
    function; record: tells what the collection is like."""
    asked = [_asked(one, place) for one, place in _searches(searches)]
    hits = iter(_hits(points, embedder, record, asked))
    columns = [
        _of_page(points, one)
        if one.rank is None
        else _of_hits(one, one.rank, [next(hits) for _ in one.rankings])
        for one in asked
    ]
    names = ("ids", "documents", "embeddings", "metadatas", "scores")
    each = {name: [one[name] for one in columns] for name in names}
    return SearchResult(each, select=[one.select for one in asked])


def _searches(searches: Any) -> list[tuple[Search, str]]:
    """The searches, each with its name in messages: one, or several."""
    if isinstance(searches, Mapping) or hasattr(searches, "to_dict"):
        return [(_search_of(searches, "searches"), "searches")]
    if isinstance(searches, str) or not isinstance(searches, Sequence):
        raise InvalidTypeError(f"searches is {shown(searches)}, expected a Search or several")
    if not searches:
        raise InvalidArgumentError("searches is empty, expected at least one Search")
    places = [f"searches[{i}]" for i in range(len(searches))]
    return [(_search_of(one, name), name) for one, name in zip(searches, places, strict=True)]


def _search_of(given: Any, place: str) -> Search:
    """A search that is given as one, as Chroma's, or as a dict."""
    form = given.to_dict() if hasattr(given, "to_dict") else given
    if not isinstance(form, Mapping):
        raise InvalidTypeError(f"{place} is {shown(given)}, expected a Search")
    return Search.from_dict(form)


def _asked(search: Search, place: str) -> _Asked:
    form = search.to_dict()
    rank, condition = form["rank"], form["filter"]
    rankings = [] if rank is None else rankings_of(rank)
    grouping = grouping_of(form["group_by"])
    if rank is not None and not rankings:
        raise InvalidArgumentError(f"{place}: rank has no Knn, expected at least one")
    if rank is None and grouping is not None:
        raise InvalidArgumentError(f"{place}: group_by goes with rank, by which records are found")
    sparse = {one.key for one in rankings} - {EMBEDDING}
    if len(sparse) > 1:
        raise InvalidArgumentError(
            f"{place}: rank searches {', '.join(sorted(sparse))}, but a collection has one kind of "
            "sparse vectors"
        )
    select = form["select"]["keys"]
    for name in select:
        if name.startswith("#") and name not in SELECTED:
            raise InvalidArgumentError(
                f"{place}: select has {shown(name)}, expected a metadata key or one of "
                f"{', '.join(SELECTED)}"
            )
    return _Asked(
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
    embedder: "Callable[[], ProbedEmbedder]",
    record: Callable[[], CollectionRecord],
    asked: Sequence[_Asked],
) -> list[Hits]:
    """What each ranking of each search has found, in one state."""
    each = [(one, ranking) for one in asked for ranking in one.rankings]
    if not each:
        return []
    queries = _queries([ranking for _, ranking in each], embedder, record)
    steps = tuple(
        Step(scoring, one.wanted(ranking), one.expression)
        for (one, ranking), scoring in zip(each, queries, strict=True)
    )
    read = [one.fields for one in asked if one.rankings]
    fields = Fields(
        payload=any(one.payload for one in read),
        document=any(one.document for one in read),
        vectors=(SPACE,) if any(one.vectors for one in read) else (),
    )
    return points.ask(Question(steps, fields))


def _queries(
    rankings: Sequence[Ranking],
    embedder: "Callable[[], ProbedEmbedder]",
    record: Callable[[], CollectionRecord],
) -> Iterator[Near | Sparse]:
    texts = [one.query for one in rankings if one.key == EMBEDDING and isinstance(one.query, str)]
    plain = complete_texts_of(texts, "query")
    vectors = iter(embedder().embed_query(plain)) if texts else iter(())
    for one in rankings:
        if one.key != EMBEDDING:
            refuse_no_sparse(f"{one.place}['key'] {one.key!r}", record())
            yield _sparse(one)
        elif isinstance(one.query, str):
            yield Near(SPACE, next(vectors)[np.newaxis])
        else:
            yield Near(SPACE, _vector(one))


def _vector(ranking: Ranking) -> Any:
    """(1, dim) float32."""
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


def _sparse(ranking: Ranking) -> Sparse:
    if ranking.key.startswith("#"):
        raise InvalidArgumentError(
            f"{ranking.place}['key'] is {ranking.key!r}, which isn't searched by vectors; expected "
            f"{EMBEDDING!r} or a name for the sparse ones"
        )
    if not isinstance(ranking.query, Mapping):
        raise InvalidTypeError(
            f"{ranking.place}['query'] is {shown(ranking.query)}, but key {ranking.key!r} has "
            "sparse vectors, and a collection has no function that makes them: pass what "
            "embed_query of a sparse embedding function gives, or ask by words with "
            "query(mode='hybrid')"
        )
    (vector,) = sparse_of(ranking.query, f"{ranking.place}['query']")
    assert vector is not None
    return Sparse(SPARSE, (vector,))


def _of_page(points: "PointsBackend", asked: _Asked) -> dict[str, Any]:
    """The columns of a search without a rank."""
    found = points.get(None, asked.expression, asked.limit, asked.offset, asked.fields)
    places = [(0, place) for place in range(len(found.ids))]
    return _columns(asked, [found], Scored(places, np.full(len(places), np.nan)))


def _of_hits(asked: _Asked, rank: Mapping[str, Any], hits: Sequence[Hits]) -> dict[str, Any]:
    """The columns of a search, of what its rankings have found."""
    read = [hit.points for hit in hits]
    distances = [
        _distances(ranking, hit) for ranking, hit in zip(asked.rankings, hits, strict=True)
    ]
    found = scored(rank, asked.rankings, [some.ids for some in read], distances)
    if asked.grouping is not None:
        payloads = [(read[i].payloads or [])[place] for i, place in found.places]
        kept = grouped(asked.grouping, payloads, found.scores)
        found = Scored([found.places[i] for i in kept], found.scores[kept])
    return _columns(asked, read, Scored(found.places[asked.window], found.scores[asked.window]))


def _distances(ranking: Ranking, hit: Hits) -> Floats:
    if ranking.key != EMBEDDING:
        return 1.0 - hit.scores
    assert hit.distances is not None or not len(hit.scores)
    return hit.scores if hit.distances is None else hit.distances


def _columns(asked: _Asked, read: Sequence[Points], found: Scored) -> dict[str, Any]:
    """What is shown of records: None for what isn't selected."""
    keys = [name for name in asked.select if not name.startswith("#")]
    columns: dict[str, Any] = dict.fromkeys(("documents", "embeddings", "metadatas", "scores"))
    columns["ids"] = [str(read[i].ids[place]) for i, place in found.places]
    if DOCUMENT in asked.select:
        columns["documents"] = [(read[i].documents or [])[place] for i, place in found.places]
    if EMBEDDING in asked.select:
        columns["embeddings"] = [_embedding(read[i], place) for i, place in found.places]
    if METADATA in asked.select or keys:
        payloads = [(read[i].payloads or [])[place] for i, place in found.places]
        wanted = None if METADATA in asked.select else {*keys}
        columns["metadatas"] = [_shown(payload, wanted) for payload in payloads]
    if SCORE in asked.select and asked.rank is not None:
        columns["scores"] = found.scores.tolist()
    return columns


def _embedding(points: Points, place: int) -> list[float] | None:
    matrix = (points.vectors or {}).get(SPACE)
    if not isinstance(matrix, np.ndarray) or np.isnan(matrix[place]).any():
        return None
    vector: list[float] = matrix[place].tolist()
    return vector


def _shown(payload: Any, keys: set[str] | None) -> Any:
    if payload is None or keys is None:
        return payload
    return {key: value for key, value in payload.items() if key in keys}
