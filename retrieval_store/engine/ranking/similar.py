"""Similarities of points' vectors to given examples, in spaces of any kind; greater is nearer.

The similarity is the cosine, the dot product, or the negative of the squared L2 or of the L1
distance. For multivectors it is the sum, over the example's vectors, of the greatest similarity to
any of the point's vectors (late interaction).
"""

from collections.abc import Sequence

import numpy as np

from retrieval_store.base.arrays import (
    Floats,
    Ints,
    Matrix,
    SparseVector,
    Stored,
    as_float32,
    similarity_of,
)
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.engine.filtering.masks import have_vector
from retrieval_store.engine.nearest.context import SearchView
from retrieval_store.engine.nearest.multivectors import counting, multivectors_in_memory, rank_multi
from retrieval_store.engine.state.fetch import vectors_read
from retrieval_store.engine.state.state import SpaceState, known_space
from retrieval_store.engine.storage.schema import Space
from retrieval_store.engine.words.ranked import sparse_scores
from retrieval_store.indexes.exact import Norms, exact_distances, length_of, products_of_few
from retrieval_store.query.query import Example

# Of k wanted rows, so many of the best by float32 are ranked again in float64.
CHOSEN_AT_LEAST, CHOSEN_TIMES = 64, 4
AT_ONCE = 1 << 20  # numbers of vectors that are multiplied at once
UNIT, LEAST = 2.0**-24, 2.0**-126  # float32's unit roundoff, and its least normal number
ROUNDINGS = 8  # those besides the product's
SPREAD = 2  # slots are dense where at least one in so many is wanted


def rows_with_vector(view: SearchView, name: str, rows: Ints) -> Ints:
    """The rows among these whose points have a vector in the space."""
    space = view.state.spaces.get(name)
    if space is not None:
        return rows[space.slot_of_row[rows] >= 0]
    other = known_space(view.state, name)
    held = multivectors_in_memory(view, other, len(rows)) if other.kind == "multi" else None
    if held is None:
        return rows[have_vector(view, name, rows)]
    mask = np.zeros(len(view.state.pks), np.bool_)
    for one, above in zip(held.segments, held.above(), strict=True):
        mask[one.holders[counting(one, above, view.state.alive)]] = True
    return rows[mask[rows]]


def similarities(
    view: SearchView, name: str, rows: Ints, examples: Sequence[Example], weighted: bool = True
) -> Floats:
    """(m, n) float64 similarities of m examples to n rows, all of which have a vector. weighted:
    apply idf in a sparse space that has it."""
    if not examples or not len(rows):
        return np.empty((len(examples), len(rows)))
    space = view.state.spaces.get(name)
    if space is not None:
        return np.stack([_dense(space, rows, one) for one in examples])
    other = known_space(view.state, name)
    if other.kind == "multi":
        return np.stack([_multi(view, other, rows, one) for one in examples])
    return np.stack([sparse_scores(view, other, one, rows, weighted) for one in _sparse(examples)])


def _sparse(examples: Sequence[Example]) -> list[SparseVector]:
    return [one for one in examples if isinstance(one, SparseVector)]


def _dense(space: SpaceState, rows: Ints, example: Example) -> Floats:
    assert isinstance(example, np.ndarray)
    return similarity_of(distances_of(space, rows, example), space.space.metric)


def distances_of(space: SpaceState, rows: Ints, vector: Matrix) -> Floats:
    """(n,) float64 distances from a vector, (dim,), to the vectors of n rows, which all have
    one."""
    slots = space.slot_of_row[rows]
    matrix = space.vectors.rows(space.space.slots)
    space.vectors.admit(matrix, space.checksums, slots)
    return exact_distances(vector, length_of(vector), matrix, slots, space.space.metric)


def examples_of(view: SearchView, name: str, rows: Ints) -> list[Example]:
    """The vectors of these rows, all of which have one."""
    return [one for one in vectors_read(view, rows, name) if one is not None]


def _multi(view: SearchView, space: Space, rows: Ints, example: Example) -> Floats:
    assert isinstance(example, np.ndarray)
    found, scores = rank_multi(view, space, np.atleast_2d(example), len(rows), rows)
    of_row = np.empty(len(rows))
    order = np.argsort(rows)
    of_row[order[np.searchsorted(rows[order], found)]] = scores
    return of_row


@dataclass(slots=True)
class ApproximateScores:
    """scores: (m, n) float64 approximations of `similarities`, computed in a fraction of the time;
    errors: (m,) bounds of their absolute errors, by example."""

    scores: Floats
    errors: Floats


def approximate_scores(
    view: SearchView, name: str, rows: Ints, examples: Sequence[Example]
) -> ApproximateScores | None:
    """The similarities of m examples to n rows by float32; None where float32 isn't faster (spaces
    other than dense, and L1), or overflows."""
    space = view.state.spaces.get(name)
    if space is None or space.space.metric == "l1" or not examples or not len(rows):
        return None
    queries = np.stack([one for one in examples if isinstance(one, np.ndarray)])
    slots = space.slot_of_row[rows]
    matrix = space.vectors.rows(space.space.slots)
    norms = space.vectors.norms(matrix, space.checksums, slots)
    products = np.empty((len(queries), len(rows)), np.float32)
    step = max(1, AT_ONCE // max(1, matrix.shape[1]))
    with np.errstate(all="ignore"):  # what is too large for float32 is noticed below
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            products[:, some] = _products(queries, matrix, slots[some]).T
        scores = _by_metric(space, queries, products, norms, slots)
        errors = _errors(space.space.metric, queries, norms.lengths[slots])
    return ApproximateScores(scores, errors) if np.isfinite(scores).all() else None


def _products(queries: Matrix, matrix: Stored, slots: Ints) -> Matrix:
    """(n, q) products with the vectors in these slots. Where the slots are dense, the range from
    the first to the last is multiplied: the extra rows cost less than copying the wanted ones."""
    first, stop = int(slots.min()), int(slots.max()) + 1
    if stop - first > SPREAD * len(slots):
        return products_of_few(queries, as_float32(matrix[slots]))
    chosen: Matrix = products_of_few(queries, as_float32(matrix[first:stop]))[slots - first]
    return chosen


def _by_metric(
    space: SpaceState, queries: Matrix, products: Matrix, norms: Norms, slots: Ints
) -> Floats:
    metric = space.space.metric
    if metric == "ip":
        return products.astype(np.float64)
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1)[:, None]
    if metric == "cosine":
        inverse: Floats = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        cosines: Floats = products * norms.inverse(slots) * inverse
        return cosines
    squared: Floats = 2.0 * products - norms.lengths[slots] ** 2 - lengths**2
    return squared


def _errors(metric: str, queries: Matrix, lengths: Floats) -> Floats:
    """(q,) bounds of the error of a score, for each query. The error of a float32 product of d
    numbers is at most d 2^-24 |x| |q| (Higham, "Accuracy and Stability of Numerical Algorithms",
    3.5), plus 2^-126 for each term that underflows."""
    dimension = queries.shape[1] + ROUNDINGS
    own = np.linalg.norm(queries.astype(np.float64), axis=1)
    off: Floats = dimension * (UNIT * own * lengths.max() + LEAST)
    if metric == "cosine":
        shortest = lengths[lengths > 0].min(initial=np.inf)
        off = dimension * (UNIT + LEAST / np.where(own > 0, own * shortest, 1.0))
    return 2.0 * off if metric == "l2" else off


def best_of(scores: Floats, k: int) -> Ints:
    """The places of the k greatest scores and of some more, for an exact second ranking; NaN
    ranks last."""
    most = max(CHOSEN_AT_LEAST, CHOSEN_TIMES * k)
    if len(scores) <= most:
        return np.arange(len(scores))
    return np.argpartition(-scores, most - 1)[:most]
