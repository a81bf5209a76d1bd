"""Similarities of points to examples, in spaces of any kind, and the scores that are computed from
them.

The similarity sim(x, e) of a point x and an example e is the cosine, the dot product, or the
negative of the squared L2 or of the L1 distance; greater is nearer. For multivectors it is computed
by late interaction: for each of the example's vectors, the greatest similarity to any of the
point's vectors; the sum of these is the similarity.

The scores of recommendation, discovery, context and feedback are computed from similarities to
examples (`comparison_of`; formulas: Qdrant's documentation, "Explore the data" and "Relevance
feedback"). Pairs of near points (`pairs`), and a drawing of the points of a dense space in a plane
(`projection`), are computed here as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import NamedTuple, TypeAlias

import numpy as np

from retrieval_store.base import budget
from retrieval_store.base.arrays import (
    Bools,
    Floats,
    Ints,
    Matrix,
    SparseVector,
    Stored,
    as_float32,
    server_scores_of,
    similarity_of,
)
from retrieval_store.base.pca import draw_sample, project
from retrieval_store.engine.filtering import evaluate
from retrieval_store.engine.filtering.cache import filter_result
from retrieval_store.engine.filtering.evaluate import have_vector
from retrieval_store.engine.search.context import SearchView
from retrieval_store.engine.search.multivectors import counting, multivectors_in_memory, rank_multi
from retrieval_store.engine.state.state import (
    SpaceState,
    fetch,
    known_space,
    read_vectors,
    vector_bytes,
)
from retrieval_store.engine.storage.records import read_values
from retrieval_store.engine.storage.schema import Space
from retrieval_store.engine.text.ranking import sparse_scores
from retrieval_store.errors import DimensionMismatchError, InvalidArgumentError
from retrieval_store.filters.nodes import Expression
from retrieval_store.filters.paths import PayloadPath
from retrieval_store.indexes.exact import Norms, exact_distances, length_of, products_of_few
from retrieval_store.query.query import Discover, Example, Recommend, RelevanceFeedback
from retrieval_store.query.types import (
    Fields,
    PointId,
    Projection,
    nothing_in,
    refuse_other_kind,
    scalar,
)

# Of k wanted rows, this many of the best by float32 are ranked again in float64.
CHOSEN_AT_LEAST, CHOSEN_TIMES = 64, 4
AT_ONCE = 1 << 20  # numbers of vectors that are multiplied at the same time
UNIT, LEAST = 2.0**-24, 2.0**-126  # float32's unit roundoff, and its least normal number
ROUNDINGS = 8  # roundings in addition to those of the product
SPREAD = 2  # slots are dense where at least one in this many is wanted


def rows_with_vector(view: SearchView, name: str, rows: Ints) -> Ints:
    """The rows whose points have a vector in the space."""
    space = view.state.spaces.get(name)
    if space is not None:
        return rows[space.slot_of_row[rows] >= 0]
    other_space = known_space(view.state, name)
    multivectors = (
        multivectors_in_memory(view, other_space, len(rows))
        if other_space.kind == "multi"
        else None
    )
    if multivectors is None:
        return rows[have_vector(view, name, rows)]
    mask = np.zeros(len(view.state.pks), np.bool_)
    for segment, above in zip(multivectors.segments, multivectors.above(), strict=True):
        mask[segment.holders[counting(segment, above, view.state.alive)]] = True
    return rows[mask[rows]]


def take_comparisons(examples: int, rows: int, arrays: int = 1) -> None:
    """Count the memory for comparing examples with rows against the request's budget: scores of
    eight bytes each. arrays: how many arrays of scores are in memory at the same time."""
    budget.take(8 * arrays * examples * rows, "comparisons", examples * rows)


def check_examples(view: SearchView, name: str, examples: Sequence[Example]) -> None:
    """Raise InvalidArgumentError if an example isn't of the same kind as the vectors of the space,
    and DimensionMismatchError if it has another dimension."""
    space = known_space(view.state, name)
    ranks = {"dense": (1,), "multi": (1, 2), "sparse": ()}[space.kind]
    for example in examples:
        if isinstance(example, SparseVector):
            if space.kind == "sparse":
                continue
        elif example.ndim in ranks:
            if space.dimension in (None, example.shape[-1]):
                continue
            raise DimensionMismatchError(
                f"an example has {example.shape[-1]} numbers, but space {name!r} holds vectors of "
                f"{space.dimension}"
            )
        raise InvalidArgumentError(
            f"the vectors of space {name!r} are {space.kind}, an example not"
        )


def similarities(
    view: SearchView,
    name: str,
    rows: Ints,
    examples: Sequence[Example],
    weighted: bool = True,
    corpus: Bools | None = None,
) -> Floats:
    """The similarities of m examples to n rows: (m, n) float64. All the rows must have a vector.
    weighted: whether to multiply by idf, in sparse spaces that have idf. corpus: the rows over
    which idf is computed, None for all rows."""
    if not examples or not len(rows):
        return np.empty((len(examples), len(rows)))
    check_examples(view, name, examples)
    take_comparisons(len(examples), len(rows))
    space = view.state.spaces.get(name)
    if space is not None:
        return np.stack([_dense(space, rows, example) for example in examples])
    other_space = known_space(view.state, name)
    if other_space.kind == "multi":
        return np.stack([_multi(view, other_space, rows, example) for example in examples])
    return np.stack(
        [
            sparse_scores(view, other_space, example, rows, weighted, corpus)
            for example in _sparse(examples)
        ]
    )


def _sparse(examples: Sequence[Example]) -> list[SparseVector]:
    return [example for example in examples if isinstance(example, SparseVector)]


def _dense(space: SpaceState, rows: Ints, example: Example) -> Floats:
    assert isinstance(example, np.ndarray)
    return similarity_of(distances_of(space, rows, example), space.space.metric)


def distances_of(space: SpaceState, rows: Ints, vector: Matrix) -> Floats:
    """The distances from a vector, (dim,), to the vectors of n rows: (n,) float64. All the rows
    must have a vector."""
    slots = space.slot_of_row[rows]
    matrix = space.vectors.rows(space.space.slots)
    space.vectors.verify_once(matrix, space.checksums, slots)
    return exact_distances(vector, length_of(vector), matrix, slots, space.space.metric)


def examples_of(view: SearchView, name: str, rows: Ints) -> list[Example]:
    """The vectors of the rows. All the rows must have a vector."""
    return [vector for vector in read_vectors(view, rows, name) if vector is not None]


def _multi(view: SearchView, space: Space, rows: Ints, example: Example) -> Floats:
    assert isinstance(example, np.ndarray)
    ranked_rows, scores = rank_multi(view, space, np.atleast_2d(example), len(rows), rows)
    scores_by_row = np.empty(len(rows))
    order = np.argsort(rows)
    scores_by_row[order[np.searchsorted(rows[order], ranked_rows)]] = scores
    return scores_by_row


@dataclass(slots=True)
class ApproximateScores:
    """Scores computed in a fraction of the time of `similarities`. scores: (m, n) float64
    approximations; errors: (m,) for each example, a bound of the absolute error."""

    scores: Floats
    errors: Floats


def approximate_scores(
    view: SearchView, name: str, rows: Ints, examples: Sequence[Example]
) -> ApproximateScores | None:
    """Approximate similarities of m examples to n rows, computed in float32. None if float32 isn't
    faster (spaces that aren't dense, and L1), or if it overflows."""
    space = view.state.spaces.get(name)
    if space is None or space.space.metric == "l1" or not examples or not len(rows):
        return None
    queries = np.stack([example for example in examples if isinstance(example, np.ndarray)])
    slots = space.slot_of_row[rows]
    matrix = space.vectors.rows(space.space.slots)
    norms = space.vectors.norms(matrix, space.checksums, slots)
    products = np.empty((len(queries), len(rows)), np.float32)
    step = max(1, AT_ONCE // max(1, matrix.shape[1]))
    with np.errstate(all="ignore"):  # numbers too large for float32 are detected below
        for start in range(0, len(rows), step):
            piece = slice(start, start + step)
            products[:, piece] = _products(queries, matrix, slots[piece]).T
        scores = _by_metric(space, queries, products, norms, slots)
        errors = _errors(space.space.metric, queries, norms.lengths[slots])
    return ApproximateScores(scores, errors) if np.isfinite(scores).all() else None


def _products(queries: Matrix, matrix: Stored, slots: Ints) -> Matrix:
    """The products of the queries with the vectors in these slots: (n, q). If the slots are close
    together, the whole range from the first to the last is multiplied, because the extra rows cost
    less than copying the wanted rows."""
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
    """For each query, a bound of the error of a score: (q,). The error of a float32 product of d
    numbers is at most d 2^-24 |x| |q| (Higham, "Accuracy and Stability of Numerical Algorithms",
    3.5), plus 2^-126 for each term that underflows."""
    dimension = queries.shape[1] + ROUNDINGS
    own = np.linalg.norm(queries.astype(np.float64), axis=1)
    off: Floats = dimension * (UNIT * own * lengths.max() + LEAST)
    if metric == "cosine":
        shortest = lengths[lengths > 0].min(initial=np.inf)
        off = dimension * (UNIT + LEAST / np.where(own > 0, own * shortest, 1.0))
    return 2.0 * off if metric == "l2" else off


Combine: TypeAlias = Callable[[Floats], Floats]
"""(m, n) likenesses of n points to m examples → (n,) scores, more is better."""


def best_of(scores: Floats, k: int) -> Ints:
    """The positions of the k greatest scores and of some more. The caller then ranks these exactly;
    NaN ranks last."""
    most = max(CHOSEN_AT_LEAST, CHOSEN_TIMES * k)
    if len(scores) <= most:
        return np.arange(len(scores))
    return np.argpartition(-scores, most - 1)[:most]


class ExampleComparison(NamedTuple):
    """A space, examples, and a function that computes scores from the similarities to these
    examples. signs: (m,) 1 if the score rises with the similarity to an example, -1 if it falls."""

    space: str
    examples: Sequence[Example]
    combine: Combine
    signs: Floats

    def places_of_best(self, approximate: ApproximateScores, k: int) -> Ints:
        """The positions of all points that may be among the k best, in ascending order. Of the
        points that certainly tie with the k-th, only the first k are included."""
        margins = (self.signs * approximate.errors)[:, None]
        least = self.combine(approximate.scores - margins)
        if len(least) <= k:
            return np.arange(len(least))
        most = self.combine(approximate.scores + margins)
        last = len(least) - max(1, k)
        floor = np.partition(least, last)[last]
        may_be = most >= floor
        may_be[np.flatnonzero((least == floor) & (most == floor))[k:]] = False
        return np.flatnonzero(may_be)


# A point must be nearer to the correct side by this margin.
MARGIN = float(np.finfo(np.float32).eps)


@singledispatch
def comparison_of(scoring: object) -> ExampleComparison:
    """The examples of a scoring, and how points are compared with them."""
    raise TypeError(f"nothing is compared by {scoring!r}")


@comparison_of.register
def _(scoring: Recommend) -> ExampleComparison:
    count = len(scoring.positives)
    combine = _best if scoring.best else _sum_scores
    examples = (*scoring.positives, *scoring.negatives)
    signs = np.where(np.arange(len(examples)) < count, 1.0, -1.0)
    return ExampleComparison(
        scoring.space, examples, lambda alike: combine(alike[:count], alike[count:]), signs
    )


@comparison_of.register
def _(scoring: Discover) -> ExampleComparison:
    sides = [example for pair in scoring.pairs for example in pair]
    signs = np.tile([1.0, -1.0], len(scoring.pairs))
    if scoring.target is None:
        return ExampleComparison(scoring.space, sides, _in_context, signs)
    examples = (scoring.target, *sides)
    return ExampleComparison(scoring.space, examples, _discovery_scores, np.append(1.0, signs))


@comparison_of.register
def _(scoring: RelevanceFeedback) -> ExampleComparison:
    # An example may be in many pairs. It is compared once, with the sum of its weights.
    examples: dict[int, Example] = {}
    shares: dict[int, float] = {}
    for near, far, weight in scoring.pairs:
        for example, part in ((near, weight), (far, -weight)):
            examples[id(example)] = example
            shares[id(example)] = shares.get(id(example), 0.0) + part
    weights = np.fromiter(shares.values(), np.float64, len(shares))

    def combine(alike: Floats) -> Floats:
        total: Floats = scoring.own * alike[0] + weights @ alike[1:]
        return total

    compared, signs = (scoring.target, *examples.values()), np.sign([scoring.own, *weights])
    return ExampleComparison(scoring.space, compared, combine, signs)


def _best(positives: Floats, negatives: Floats) -> Floats:
    """The scores for comparing a point with its most similar example, where σ(x) = x / (1 + |x|).
    Let s be the similarity to the most similar example. The score is ½ (σ(s) + 1) if that example
    is positive, and -½ (σ(s) + 1) if it is negative."""
    near = positives.max(axis=0, initial=-np.inf)
    far = negatives.max(axis=0, initial=-np.inf)
    nearer = near > far
    scores = _scale(np.where(nearer, near, far))
    return np.where(nearer, scores, -scores)


def _sum_scores(positives: Floats, negatives: Floats) -> Floats:
    total: Floats = positives.sum(axis=0) - negatives.sum(axis=0)
    return total


def _discovery_scores(alike: Floats) -> Floats:
    """The scores of discovery, where σ(x) = x / (1 + |x|). Each pair adds 1 if the point is nearer
    to the pair's positive example, -1 if nearer to the negative, and 0 if equally near. The
    similarity s to the target adds ½ (σ(s) + 1)."""
    ranks: Floats = np.sign(alike[1::2] - alike[2::2]).sum(axis=0)
    return ranks + _scale(alike[0])


def _in_context(alike: Floats) -> Floats:
    """The scores of context search, where σ(x) = x / (1 + |x|). Each pair adds σ(similarity to the
    positive example minus similarity to the negative example), but at most 0."""
    margins = np.minimum(alike[0::2] - alike[1::2] - MARGIN, 0.0)
    total: Floats = _sigmoid(margins).sum(axis=0)
    return total


def _sigmoid(x: Floats) -> Floats:
    finite = np.isfinite(x)
    squeezed: Floats = np.divide(x, 1.0 + np.abs(x), out=x.copy(), where=finite)
    return squeezed


def _scale(x: Floats) -> Floats:
    """Compute ½ (σ(x) + 1), where σ(x) = x / (1 + |x|)."""
    return 0.5 * (_sigmoid(x) + 1.0)


CELLS = 1 << 22  # similarities that are computed at the same time
PAIR = 850  # bytes that a pair takes until the response is written


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of points: ids[a[i]] and ids[b[i]] have the score scores[i]."""

    ids: list[PointId]
    a: Ints
    b: Ints
    scores: Floats


def pairs(
    view: SearchView, space: str, expression: Expression | None, sample: int, limit: int
) -> Pairs:
    """Find pairs of near points: for each point of a random sample, the nearest other points of the
    sample."""
    mask = filter_result(view, expression, evaluate).mask
    rows = rows_with_vector(view, space, np.flatnonzero(view.state.alive if mask is None else mask))
    if len(rows) > sample:
        rows = np.random.default_rng().choice(rows, sample, replace=False)
    if len(rows) == 1:  # there is no other row to compare
        rows = rows[:0]
    most = min(limit, max(0, len(rows) - 1))
    budget.take(PAIR * most * len(rows), "pairs", most * len(rows))
    # Once in the matrix, and once as a separate vector.
    size = 2 * vector_bytes(view, Fields(vectors=(space,)))
    budget.take(size * len(rows), "vectors", len(rows))
    ids, rows = _by_id(fetch(view, rows, Fields()).ids, rows)
    a, b, alike = _nearest_others(view, space, rows, most)
    return Pairs(ids, a, b, server_scores_of(alike, known_space(view.state, space).metric))


def _nearest_others(
    view: SearchView, space: str, rows: Ints, most: int
) -> tuple[Ints, Ints, Floats]:
    """For each of the rows, find the nearest other rows, at most `most`, best first. Returns pairs
    of positions in `rows`, and the similarity of each pair. Sparse vectors that share no index
    aren't compared."""
    examples, step = examples_of(view, space, rows), max(1, CELLS // max(1, len(rows)))
    compared = _comparable(examples)
    nearest, scores = [np.empty(0, np.int64)], [np.empty(0)]
    counts = []

    def exactly(example: Example, places: Ints) -> tuple[Ints, Floats]:
        (alike,) = similarities(view, space, rows[places], [example])
        order = np.argsort(-alike, kind="stable")[:most]
        return places[order], alike[order]

    for start in range(0, len(rows), step):
        piece = examples[start : start + step]
        approximate = approximate_scores(view, space, rows, piece)
        for i, example in enumerate(piece):
            budget.check()
            places = compared(start + i)
            other_places = places[places != start + i]
            proven = (
                None
                if approximate is None
                else _proven(approximate, i, other_places, most, example, exactly)
            )
            places, alike = proven or exactly(example, other_places)
            nearest.append(places)
            scores.append(alike)
            counts.append(len(places))
    a = np.repeat(np.arange(len(rows)), counts)
    return a, np.concatenate(nearest), np.concatenate(scores)


def _comparable(examples: Sequence[Example]) -> Callable[[int], Ints]:
    """A function that selects the examples with which one example is compared. The function takes
    the position of an example, and returns this position and those of the selected examples."""
    every = np.arange(len(examples))
    if not any(isinstance(example, SparseVector) for example in examples):
        return lambda place: every
    places_by_index: dict[int, list[int]] = {}
    for place, example in enumerate(_sparse(examples)):
        for index in example.indices.tolist():
            places_by_index.setdefault(index, []).append(place)

    def sharing(place: int) -> Ints:
        (vector,) = _sparse(examples[place : place + 1])
        several = [places_by_index[index] for index in vector.indices.tolist()]
        return np.unique(np.concatenate([[place], *several]).astype(np.int64))

    return sharing


def _proven(
    approximate: ApproximateScores,
    i: int,
    others: Ints,
    most: int,
    example: Example,
    exactly: Callable[[Example, Ints], tuple[Ints, Floats]],
) -> tuple[Ints, Floats] | None:
    """For the example number `i`, the best of the rows `others` by exact scores. Exact scores are
    computed only for the rows with the best approximate scores. Returns None if a row without an
    exact score may be better. exactly: returns the best of some rows, with their exact scores."""
    scores = approximate.scores[i, others]
    chosen = np.sort(best_of(scores, most))
    places, alike = exactly(example, others[chosen])
    is_cut_off = len(chosen) < len(others)
    if is_cut_off and most and alike[-1] <= scores[chosen].min() + approximate.errors[i]:
        return None
    return places, alike


def _by_id(ids: list[PointId], rows: Ints) -> tuple[list[PointId], Ints]:
    """The ids, sorted: integers first, then strings; and the rows in the same order."""
    order = sorted(range(len(ids)), key=lambda i: (isinstance(ids[i], str), ids[i]))
    return [ids[i] for i in order], rows[order]


def projection(
    view: SearchView,
    name: str,
    expression: Expression | None,
    sample: int,
    seed: int,
    path: PayloadPath | None,
) -> Projection:
    """Project a sample of points to a plane. The points match the expression and have a vector in
    the space."""
    refuse_other_kind(name, known_space(view.state, name).kind)
    space = view.state.spaces.get(name)
    if space is None:  # nothing was ever written to the space
        return nothing_in(path)
    mask = filter_result(view, expression, evaluate).mask
    rows = rows_with_vector(view, name, np.flatnonzero(view.state.alive if mask is None else mask))
    total = len(rows)
    rows = rows[draw_sample(total, sample, seed)]
    slots = space.slot_of_row[rows]
    matrix = space.vectors.rows(space.space.slots)
    space.vectors.verify_once(matrix, space.checksums, slots)

    def read(places: Ints) -> Matrix:
        return as_float32(matrix[slots[places]])

    places, plane = project(read, len(rows), seed, space.space.metric == "cosine")
    values = None
    if path is not None:
        (path_values,) = read_values(view.connection, view.state.pks[rows], [path])
        values = [*map(scalar, path_values)]
    ids = fetch(view, rows, Fields()).ids
    return Projection(ids, places, plane.axes, plane.explained, total, values)
