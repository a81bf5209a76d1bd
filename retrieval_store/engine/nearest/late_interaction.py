"""Late interaction: points with several vectors each, compared vector by vector."""

import numpy as np

from retrieval_store.base.arrays import Floats, Ints, Matrix
from retrieval_store.base.ranking import Ranking
from retrieval_store.engine.state.view import AnyView
from retrieval_store.engine.storage.schema import Space
from retrieval_store.engine.storage.special import read_blobs
from retrieval_store.errors import DimensionMismatchError
from retrieval_store.indexes.exact import Metric

AT_ONCE = 2_000  # points whose vectors are looked at together


def rank_multi(view: AnyView, space: Space, query: Matrix, k: int, candidates: Ints) -> Ranking:
    """The k of the candidate rows that are best by late interaction: each of the query's vectors,
    (m, dim), counts with the greatest similarity to any of a point's, and these are summed.

    Khattab and Zaharia, "ColBERT" (2020). Similarity: the cosine, the dot product, or the negative
    of the distance, by the metric of the space.
    """
    if space.dimension is None:
        return np.empty(0, np.int64), np.empty(0)
    if query.shape[1] != space.dimension:
        raise DimensionMismatchError(
            f"the query vectors have {query.shape[1]} numbers, but space {space.name!r} holds "
            f"vectors of {space.dimension}"
        )
    parts = [
        _scored(view, space, query, rows)
        for rows in np.array_split(np.sort(candidates), 1 + len(candidates) // AT_ONCE)
    ]
    holders = np.concatenate([rows for rows, _ in parts])
    scores = np.concatenate([scores for _, scores in parts])
    order = np.argsort(-scores, kind="stable")[:k]
    return holders[order], scores[order]


def _scored(view: AnyView, space: Space, query: Matrix, rows: Ints) -> Ranking:
    """Those of the rows, ascending, that have vectors, and their scores."""
    assert space.dimension is not None
    pks = view.state.pks[rows]
    found = list(read_blobs(view.connection, space, pks))
    if not found:
        return np.empty(0, np.int64), np.empty(0)
    holders = rows[np.searchsorted(pks, np.array([pk for pk, _ in found], np.int64))]
    joined = b"".join([blob for _, blob in found])
    matrix = np.frombuffer(joined, "<f4").reshape(-1, space.dimension)
    starts = np.cumsum([0, *(len(blob) // (4 * space.dimension) for _, blob in found)])[:-1]
    similar = _similarities(query, matrix, space.metric)
    return holders, np.maximum.reduceat(similar, starts, axis=1).sum(axis=0)


def _similarities(query: Matrix, matrix: Matrix, metric: Metric) -> Floats:
    """(m, n) float64, greater is nearer."""
    wide, rows = query.astype(np.float64), matrix.astype(np.float64)
    if metric == "l1":
        return -np.stack([np.abs(rows - one).sum(axis=1) for one in wide])
    if metric == "cosine":
        wide, rows = _unit(wide), _unit(rows)
    products: Floats = wide @ rows.T
    if metric != "l2":
        return products
    squared: Floats = 2 * products - (rows * rows).sum(axis=1) - (wide * wide).sum(axis=1)[:, None]
    return squared


def _unit(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Floats = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return unit
