"""Groups of hits, compared with plain loops."""

import numpy as np
import pytest

from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.paths import JsonPath
from retrieval_store.filters.values import Differs, Equals
from retrieval_store.query.query import GroupSearch, NearestDense, Query, QueryStep
from retrieval_store.query.types import Fields, NewSpace, PointBatch, Vectors
from tests.helpers.batches import UPSERT, points_of

POINTS, DIMENSION = 600, 8
ODD = [True, 1.5, None, {"a": 1}, ["t1", 2.5]]


@pytest.fixture
def numbers():
    return np.random.default_rng(8)


def labels_in(value):
    values = value if isinstance(value, list) else [value]
    return [] if any(type(one) not in (str, int) for one in values) else list(dict.fromkeys(values))


def grouped(held, query, groups, size):
    """The first groups over all points, ranked by their products with the query."""
    found = {}
    for i in sorted(held, key=lambda i: -float(held[i][0] @ query)):
        for label in labels_in(held[i][1]):
            if label in found or len(found) < groups:
                found.setdefault(label, []).append(i)
    return [(label, ids[:size]) for label, ids in found.items()]


AT = ValuesAt(JsonPath(("key",)), "anything")


def grouping(groups, size):
    """Group by the values at `key`."""

    def among(values):
        return Equals(AT, tuple(values))

    def besides(values):
        return Differs(AT, tuple(values))

    return GroupSearch(AT.path, groups, size, among, besides)


class Points:
    """Points with a value at `key`, in a store and in a list."""

    def __init__(self, store, numbers):
        self.points, self.numbers = points_of(store, v=NewSpace("ip")), numbers
        self.held = {}

    def write(self, ids, values):
        vectors = self.numbers.standard_normal((len(ids), DIMENSION)).astype(np.float32)
        payloads = [{"key": value} for value in values]
        self.points.put(PointBatch(ids, {"v": Vectors(vectors)}, payloads=payloads), UPSERT)
        self.held |= dict(zip(ids, zip(vectors, values, strict=True), strict=True))

    def check(self, groups, size):
        query = self.numbers.standard_normal(DIMENSION).astype(np.float32)
        step = QueryStep(NearestDense("v", query[None], "server"), groups)
        found = self.points.ask(Query((step,), Fields(), grouping(groups, size)))
        reports = [(one.group, one.points.ids) for one in found]
        assert reports == grouped(self.held, query, groups, size)


def test_groups_are_the_first_of_all_points_before_and_after_writes(store, numbers):
    points = Points(store, numbers)
    values = [f"t{i}" if i % 3 else [i, f"t{i % 7}", f"t{i % 5}"] for i in range(40)] + ODD
    points.write(list(range(POINTS)), [values[i % len(values)] for i in range(POINTS)])
    for _ in range(12):
        points.check(5, 3)
    points.write([3, 4, 5, POINTS], ["t3", "t3", [], "new"])
    points.check(5, 3)
    points.points.delete([1, 4, 9], None, None)
    for gone in (1, 4, 9):
        del points.held[gone]
    points.check(6, 2)
    points.check(90, 40)


def test_groups_that_few_points_can_fill_are_found_whole(store, numbers):
    points = Points(store, numbers)
    points.write(list(range(POINTS)), [i if i % 50 else "often" for i in range(POINTS)])
    for _ in range(12):
        points.check(4, 3)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize(
    ("origin", "apart", "scale"),
    [(0, 0, 1), (30, 0, 1), (3_000, 0, 1), (0, 10_000, 1), (0, 100, 1), (0, 0, 1e-12)],
)
def test_pairs_are_the_nearest_wherever_vectors_lie(store, numbers, metric, origin, apart, scale):
    points = points_of(store, v=NewSpace(metric))
    clusters = apart * numbers.standard_normal((4, DIMENSION))[np.arange(POINTS) % 4]
    vectors = numbers.standard_normal((POINTS, DIMENSION)) * scale + origin + clusters
    vectors = vectors.astype(np.float32)
    vectors[100:103] = vectors[:3]
    batch = PointBatch([str(i) for i in range(POINTS)], {"v": Vectors(vectors)})
    points.put(batch, UPSERT)
    ids, a, b, scores = points.pairs("v", None, POINTS, 3)
    assert sorted(ids) == sorted(batch.ids) and len(a) == 3 * POINTS
    wide = vectors[[int(one) for one in ids]].astype(np.float64)
    if metric == "l2":
        alike = -np.linalg.norm(wide[:, None] - wide[None], axis=2)
    else:
        lengths = np.linalg.norm(wide, axis=1) if metric == "cosine" else np.ones(POINTS)
        alike = wide @ wide.T / np.outer(lengths, lengths)
    np.fill_diagonal(alike, -np.inf)
    best = np.sort(alike, axis=1)[:, ::-1][:, :3].ravel()
    assert np.array_equal(a, np.repeat(np.arange(POINTS), 3)) and (a != b).all()
    np.testing.assert_allclose(alike[a, b], best, rtol=1e-12)
    shown = np.abs(best) if metric == "l2" else best
    np.testing.assert_allclose(scores, shown, rtol=1e-9, atol=1e-9)
