"""Answering queries of every kind: by vectors, by words, or by both, fused."""

from dataclasses import replace

import numpy as np

from retrieval_store.base.arrays import Floats, Ints
from retrieval_store.base.ranking import (
    FUSIONS,
    IDENTIFIER_WEIGHT,
    adaptive_alpha,
)
from retrieval_store.engine.cutting import Scored, shown, shown_of_each_kind
from retrieval_store.engine.filtering.selecting import allowed_by
from retrieval_store.engine.nearest.kept import SearchView
from retrieval_store.engine.nearest.late_interaction import rank_multi
from retrieval_store.engine.nearest.search import nearest_rows
from retrieval_store.engine.nearest.trace import Trace
from retrieval_store.engine.state.fetch import fetch_each
from retrieval_store.engine.storage.schema import Space
from retrieval_store.engine.words.ranked import rank_sparse, rank_texts, rank_weighed_texts
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.indexes.exact import Metric, exact_distances, length_of
from retrieval_store.interface.points import Fields, Hits
from retrieval_store.interface.queries import (
    AnyQuery,
    Cut,
    HybridQuery,
    MultiQuery,
    Query,
    SparseQuery,
    TextQuery,
    scores_of,
)
from retrieval_store.interface.spaces import Kind


def answer(
    view: SearchView, query: AnyQuery, fields: Fields, trace: Trace, cut: Cut | None = None
) -> list[Hits]:
    """For each of the queries the best points that fulfil the expression, best first, with scores,
    and distances where there is a vector to measure from; ties in the order of first insertion.
    Only those of the cut are fetched."""

    def rank(query: AnyQuery) -> list[Scored]:
        return _ranked(view, query, trace)

    if cut is not None and cut.max_distance is not None and isinstance(query, Query):
        query = replace(query, within=cut.max_distance)
    if cut is None or cut == Cut(query.k):
        found = rank(query)
    elif cut.group_by is None:
        found = [shown(one, cut) for one in rank(query)]
    else:
        found = shown_of_each_kind(view, query, cut, rank)
    points = fetch_each(view, [one.rows for one in found], fields)
    trace.lap("fetch")
    return [Hits(p, one.distances, one.scores) for p, one in zip(points, found, strict=True)]


def _ranked(view: SearchView, query: AnyQuery, trace: Trace) -> list[Scored]:
    match query:
        case Query():
            return _by_vectors(view, query, trace)
        case TextQuery():
            return _by_words(view, query, trace)
        case HybridQuery(alpha=1, k=k):
            return _by_vectors(view, replace(query.dense, k=k), trace)
        case HybridQuery(alpha=0, k=k):
            return _ranked(view, replace(query.words, k=k), trace)
        case HybridQuery():
            return _by_both(view, query, trace)
        case SparseQuery():
            return _by_sparse(view, query, trace)
        case MultiQuery():
            return _by_several(view, query, trace)


def _by_vectors(view: SearchView, query: Query, trace: Trace) -> list[Scored]:
    found = nearest_rows(view, query, trace)
    metric = _metric(view, query.space)
    return [Scored(rows, scores_of(distances, metric), distances) for rows, distances in found]


def _by_words(view: SearchView, query: TextQuery, trace: Trace) -> list[Scored]:
    allowed = allowed_by(view, query.expression)
    trace.matching = allowed.count
    trace.lap("filter")
    found = rank_texts(view, query.analyzer, query.texts, query.k, allowed.mask)
    trace.lap("text")
    trace.legs["text"] = [len(rows) for rows, _ in found]
    return [Scored(rows, scores) for rows, scores in found]


def _by_sparse(view: SearchView, query: SparseQuery, trace: Trace) -> list[Scored]:
    allowed = allowed_by(view, query.expression)
    trace.matching = allowed.count
    trace.lap("filter")
    space = _special(view, query.space, "sparse")
    found = rank_sparse(view, space, query.vectors, query.k, allowed.mask)
    trace.lap("sparse")
    trace.legs["sparse"] = [len(rows) for rows, _ in found]
    return [Scored(rows, scores) for rows, scores in found]


def _by_several(view: SearchView, query: MultiQuery, trace: Trace) -> list[Scored]:
    space = _special(view, query.space, "multi")
    if query.candidates is None:
        allowed = allowed_by(view, query.expression)
        trace.matching = allowed.count
        mask = view.state.alive if allowed.mask is None else allowed.mask
        chosen = [np.flatnonzero(mask)] * len(query.matrices)
    else:
        prefetch = replace(query.candidates, expression=query.expression)
        chosen = [rows for rows, _ in nearest_rows(view, prefetch, trace)]
    trace.legs["candidates"] = [len(rows) for rows in chosen]
    found = [
        rank_multi(view, space, matrix, query.k, rows)
        for matrix, rows in zip(query.matrices, chosen, strict=True)
    ]
    trace.lap("late interaction")
    return [Scored(rows, scores) for rows, scores in found]


def _special(view: SearchView, name: str, kind: Kind) -> Space:
    space = view.state.non_dense.get(name)
    if space is None or space.kind != kind:
        raise InvalidArgumentError(f"there is no {kind} vector space {name!r}")
    return space


def _by_both(view: SearchView, query: HybridQuery, trace: Trace) -> list[Scored]:
    k = query.k
    dense = _by_vectors(view, query.dense, trace)
    trace.legs["dense"] = [len(one.rows) for one in dense]
    words, trace.alphas = _words_and_alphas(view, query, trace)
    fuse = FUSIONS[query.fusion]
    answers: list[Scored] = []
    for i, (alpha, *legs) in enumerate(zip(trace.alphas, dense, words, strict=True)):
        rows, scores = fuse([(leg.rows, leg.scores) for leg in legs], [alpha, 1 - alpha])
        rows = rows[:k]
        answers.append(Scored(rows, scores[:k], _distances(view, query.dense, i, rows)))
    trace.lap("fusion")
    return answers


def _words_and_alphas(
    view: SearchView, query: HybridQuery, trace: Trace
) -> tuple[list[Scored], list[float]]:
    """What the words find, and what the vectors weigh beside it, for each query."""
    words = query.words
    if query.fusion != "adaptive" or not isinstance(words, TextQuery):
        found = _ranked(view, words, trace)
        return found, [query.alpha] * len(found)
    mask = allowed_by(view, words.expression).mask
    weighed = rank_weighed_texts(
        view, words.analyzer, words.texts, words.k, mask, IDENTIFIER_WEIGHT
    )
    trace.lap("text")
    trace.legs["text"] = [len(rows) for (rows, _), _ in weighed]
    alphas = [adaptive_alpha(share, query.alpha) for _, share in weighed]
    return [Scored(rows, scores) for (rows, scores), _ in weighed], alphas


def _distances(view: SearchView, query: Query, i: int, rows: Ints) -> Floats:
    """Distances of rows from a query vector; NaN for those that have no vector in the space."""
    distances = np.full(len(rows), np.nan)
    space = view.state.spaces.get(query.space)
    if space is not None:
        slots = space.slot_of_row[rows]
        owned = slots >= 0
        matrix = space.vectors.rows(space.space.slots)
        space.vectors.admit(matrix, space.checksums, slots[owned])
        vector = query.vectors[i]
        distances[owned] = exact_distances(
            vector, length_of(vector), matrix, slots[owned], space.space.metric
        )
    return distances


def _metric(view: SearchView, name: str) -> Metric:
    space = view.state.spaces.get(name)
    return "l2" if space is None else space.space.metric
