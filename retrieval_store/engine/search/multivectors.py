"""Late interaction: points with several vectors each, compared vector by vector.

In memory, the vectors of one space are kept in layers, which are updated after writes; each layer
has one matrix. Products in float32, with a bound of their rounding error, select candidates.
Products in float64 then rank the candidates, as in spaces with single vectors.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from retrieval_store.base import budget
from retrieval_store.base.arrays import Bools, Floats, Ints, Matrix, Metric
from retrieval_store.base.fusion import Ranking
from retrieval_store.engine.search.context import SearchView
from retrieval_store.engine.sqlite import select
from retrieval_store.engine.state.caches import CACHE_BUDGET, Layers, current, outside
from retrieval_store.engine.storage.schema import Space
from retrieval_store.engine.storage.write import read_blobs
from retrieval_store.errors import DimensionMismatchError
from retrieval_store.indexes.exact import UNIT_ROUNDOFF, products_of_few

BUDGET_SHARE = 2  # the vectors of one space take at most the memory budget divided by this
# Points are read instead while all calls together read fewer than one point in this many.
LOOKED_AT = 8
# Numbers that are in memory at the same time when vectors are compared: numbers of the vectors, and
# of the products with the query's vectors. A page of images has a thousand vectors, so the number
# of points isn't a good measure.
NUMBERS = 4_000_000
LIKELY = 64  # at least this many points are compared in float64


@dataclass(frozen=True, slots=True)
class MultiVectors:
    """The vectors of some points. rows: the rows of all points that were read, ascending. holders:
    the rows that have vectors. starts: (holders + 1,) the position in `matrix` at which the vectors
    of each holder begin. matrix: (n, dim) float32, the vectors. lengths: (n,) float32, the lengths
    of the vectors."""

    rows: Ints
    holders: Ints
    starts: Ints
    matrix: Matrix
    lengths: Matrix
    is_empty: ClassVar[bool] = False  # there are few spaces

    @property
    def nbytes(self) -> int:
        """The size of the arrays in memory, in bytes."""
        numbers = self.matrix.nbytes + self.lengths.nbytes
        return self.rows.nbytes + self.holders.nbytes + self.starts.nbytes + numbers

    def of(self, places: Ints) -> tuple[Matrix, Ints]:
        """The vectors of the holders at these positions, and the index at which the vectors of each
        holder begin."""
        counts = np.diff(self.starts)[places]
        starts = np.cumsum(counts) - counts
        vector_places = np.arange(int(counts.sum())) + np.repeat(
            self.starts[places] - starts, counts
        )
        return self.matrix[vector_places], starts


def multivectors_in_memory(
    view: SearchView, space: Space, point_count: int
) -> Layers[MultiVectors] | None:
    """The vectors of all points in a space. None if they would take too much memory, or if reading
    only the needed vectors is cheaper. point_count: how many points this call needs."""
    cache, key, state = view.caches.several, space.number, view.state
    if key not in cache.nonempty_keys():
        if cache.demand.spend(key, point_count) * LOOKED_AT < state.count:
            return None
        if not CACHE_BUDGET.has_room(_bytes_of(view, space), BUDGET_SHARE):
            # Adding up the bytes takes long, so it is repeated only after the same demand.
            cache.demand.pop(key, None)
            return None

    def build(rows: Ints) -> MultiVectors:
        return read_multivectors(view, space, rows)

    return current(cache, key, state.head.seq, state.alive, build, lambda: None)


def _bytes_of(view: SearchView, space: Space) -> int:
    query = "SELECT total(length(content)) FROM blobs WHERE space = ?"
    ((total,),) = select(view.connection, query, space.number)
    return int(total)


def read_multivectors(view: SearchView, space: Space, rows: Ints) -> MultiVectors:
    """The vectors of the points at these rows, read from the database. The rows must ascend."""
    pks = view.state.pks[rows]
    return _vectors_in(space, rows, pks, [*read_blobs(view.connection, space, pks)])


def _vectors_in(
    space: Space, rows: Ints, pks: Ints, blobs: Sequence[tuple[int, bytes]]
) -> MultiVectors:
    """Decode the vectors of points. rows: the points' rows, ascending; pks: the points' pks, in the
    same order; blobs: pairs of a pk and the stored vectors, read from the database."""
    assert space.dimension is not None
    holders = rows[np.searchsorted(pks, np.array([pk for pk, _ in blobs], np.int64))]
    counts = [len(blob) // (4 * space.dimension) for _, blob in blobs]
    joined = b"".join([blob for _, blob in blobs])
    matrix = np.frombuffer(joined, "<f4").reshape(-1, space.dimension)
    starts = np.cumsum([0, *counts])
    lengths: Floats = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64))
    return MultiVectors(rows, holders, starts, matrix, lengths.astype(np.float32))


def counting(segment: MultiVectors, above: Ints | None, mask: Bools) -> Ints:
    """The positions of those holders in a layer that the mask includes and that no newer layer
    replaces. above: the rows that newer layers contain."""
    holders = segment.holders[: np.searchsorted(segment.holders, len(mask))]
    good = mask[holders]
    if above is not None:
        good &= outside(holders, above)
    return np.flatnonzero(good)


def rank_multi(view: SearchView, space: Space, query: Matrix, k: int, candidates: Ints) -> Ranking:
    """The k candidate rows that are best by late interaction. For each vector of the query, (m,
    dim), the greatest similarity to any of the point's vectors is computed. The point's score is
    the sum of these similarities.

    Khattab and Zaharia, "ColBERT" (2020). Depending on the metric of the space, a similarity is the
    cosine, the dot product, or the negative distance.
    """
    if space.dimension is None:
        return np.empty(0, np.int64), np.empty(0)
    if query.shape[1] != space.dimension:
        raise DimensionMismatchError(
            f"the query vectors have {query.shape[1]} numbers, but space {space.name!r} holds "
            f"vectors of {space.dimension}"
        )
    parts = list(_parts(view, space, query, k, candidates))
    holders = np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in parts)])
    scores = np.concatenate([np.empty(0), *(scores for _, scores in parts)])
    order = np.lexsort((holders, -scores))[:k]
    return holders[order], scores[order]


def _parts(
    view: SearchView, space: Space, query: Matrix, k: int, candidates: Ints
) -> Iterator[Ranking]:
    """Yield candidates with their scores, including all candidates that may be among the k best."""
    layers = multivectors_in_memory(view, space, len(candidates))
    if layers is None:
        for segment in _read_in_pieces(view, space, np.sort(candidates), len(query)):
            yield from _score_in_pieces(
                segment, np.arange(len(segment.holders)), query, space.metric
            )
        return
    mask = np.zeros(len(view.state.pks), np.bool_)
    mask[candidates] = True
    for segment, above in zip(layers.segments, layers.above(), strict=True):
        places = _likely(segment, counting(segment, above, mask), query, space.metric, k)
        yield from _score_in_pieces(segment, places, query, space.metric)


def _read_in_pieces(
    view: SearchView, space: Space, rows: Ints, query_vectors: int
) -> Iterator[MultiVectors]:
    """Yield the vectors of the points at these rows, a few million numbers at a time. The rows must
    ascend."""
    assert space.dimension is not None
    most = 4 * NUMBERS * space.dimension // (space.dimension + query_vectors)
    pks, blobs, size = view.state.pks[rows], list[tuple[int, bytes]](), 0
    for pk, blob in read_blobs(view.connection, space, pks):
        blobs.append((pk, blob))
        size += len(blob)
        if size >= most:
            yield _vectors_in(space, rows, pks, blobs)
            blobs, size = [], 0
    yield _vectors_in(space, rows, pks, blobs)


def _score_in_pieces(
    segment: MultiVectors, places: Ints, query: Matrix, metric: Metric
) -> Iterator[Ranking]:
    for piece in _pieces(np.diff(segment.starts)[places], sum(query.shape)):
        yield _score_holders(segment, places[piece], query, metric)


def _pieces(counts: Ints, numbers: int) -> Iterator[slice]:
    """Yield slices of points. The vectors of a slice have at most NUMBERS numbers, or the slice is
    a single point. counts: the number of vectors of each point; numbers: how many numbers a vector
    takes."""
    pieces = np.cumsum(counts) * numbers // NUMBERS
    starts = np.flatnonzero(np.diff(pieces, prepend=-1))
    for start, stop in pairwise([*starts.tolist(), len(counts)]):
        budget.check()
        yield slice(start, stop)


def _score_holders(segment: MultiVectors, places: Ints, query: Matrix, metric: Metric) -> Ranking:
    """The rows of the holders at these positions, and their scores."""
    if not len(places):
        return np.empty(0, np.int64), np.empty(0)
    matrix, starts = segment.of(places)
    similar = _similarities(query, matrix, metric)
    return segment.holders[places], np.maximum.reduceat(similar, starts, axis=1).sum(axis=0)


def _likely(segment: MultiVectors, places: Ints, query: Matrix, metric: Metric, k: int) -> Ints:
    """The holders at these positions that may be among the k best, according to float32 scores."""
    is_few = len(places) <= max(k, LIKELY) or len(places) * LOOKED_AT < len(segment.holders)
    if is_few or metric == "l1":
        return places
    with np.errstate(over="ignore", invalid="ignore"):
        scores, error = _roughly(segment, query, metric)
        scores = scores[places]
    if not np.isfinite(scores).all() or not np.isfinite(error):
        return places
    floor = np.partition(scores, len(scores) - k)[-k]
    return places[scores >= float(floor) - 2.0 * error]


def _roughly(segment: MultiVectors, query: Matrix, metric: Metric) -> tuple[Matrix, float]:
    """The float32 scores of all holders, and a bound of their error."""
    reaches = np.linalg.norm(query.astype(np.float64), axis=1)
    longest = float(segment.lengths.max(initial=0.0))
    if metric == "cosine":
        scale = float(len(query))
    elif metric == "l2":
        scale = float(((reaches + longest) ** 2).sum())
    else:
        scale = float(reaches.sum()) * longest
    scores = np.zeros(len(segment.holders), np.float32)
    for piece in _pieces(np.diff(segment.starts), len(query)):
        starts = segment.starts[piece.start : piece.stop + 1]
        alike = _rough_products(segment, slice(starts[0], starts[-1]), query, reaches, metric)
        for column in np.ascontiguousarray(alike.T):
            scores[piece] += np.maximum.reduceat(column, starts[:-1] - starts[0])
    steps = 2 * query.shape[1] + 2 * len(query) + 16
    return scores, steps * UNIT_ROUNDOFF * scale


def _rough_products(
    segment: MultiVectors, vectors: slice, query: Matrix, reaches: Floats, metric: Metric
) -> Matrix:
    """The float32 similarities of some vectors to the query's vectors: (n, m). reaches: the lengths
    of the query's vectors."""
    products, lengths = products_of_few(query, segment.matrix[vectors]), segment.lengths[vectors]
    if metric == "cosine":
        inverse = np.divide(1.0, reaches, out=np.zeros_like(reaches), where=reaches > 0)
        inverse_lengths = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        products *= inverse_lengths[:, None]
        products *= inverse.astype(np.float32)
    elif metric == "l2":
        products *= 2.0
        products -= lengths[:, None] ** 2
        products -= reaches.astype(np.float32) ** 2
    return products


def _similarities(query: Matrix, matrix: Matrix, metric: Metric) -> Floats:
    """The similarities of the query's vectors to the rows of a matrix: (m, n) float64; greater is
    nearer."""
    wide, rows = query.astype(np.float64), matrix.astype(np.float64)
    if metric == "l1":
        return -np.stack([np.abs(rows - vector).sum(axis=1) for vector in wide])
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
