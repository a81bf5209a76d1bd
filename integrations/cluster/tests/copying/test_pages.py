"""Whether points equal a copy's."""

import numpy as np
import pytest

from retrieval_store import SparseVector
from retrieval_store.extension import Points
from retrieval_store_cluster.copying.pages import ROUNDED, differing

IDS = ["a", "b", "c", "d"]
NOTHING = np.full(3, np.nan, np.float32)


def points(ids, matrix, sparse=None):
    vectors = {"": np.array(matrix, np.float32)}
    if sparse is not None:
        vectors["words"] = sparse
    return Points(ids, [{"n": point_id} for point_id in ids], None, None, vectors)


def words(*indices):
    return SparseVector(np.array(indices, np.uint32), np.ones(len(indices), np.float32))


def test_vectors_are_compared_by_id_in_any_order():
    matrix = np.arange(12, dtype=np.float32).reshape(4, 3)
    matrix[2] = NOTHING
    other = matrix[::-1] * np.float32(1 + 1e-7)
    assert differing(points(IDS, matrix), points(IDS[::-1], other), ROUNDED) == set()
    assert differing(points(IDS, matrix), points(IDS[::-1], other), 0) == {"a", "b", "d"}
    other[0, 1] += 1  # of d
    other[1] = 0  # of c, which has none
    assert differing(points(IDS, matrix), points(IDS[::-1], other), ROUNDED) == {"c", "d"}


def test_missing_and_different_points_differ():
    matrix = np.ones((4, 3))
    others = points(["c", "a"], np.ones((2, 3)))
    others.payloads[0]["n"] = "x"
    assert differing(points(IDS, matrix), others, ROUNDED) == {"b", "c", "d"}
    nobody = points([], np.ones((0, 3)))
    assert differing(points(IDS, matrix), nobody, ROUNDED) == {*IDS}
    assert differing(nobody, others, ROUNDED) == set()


@pytest.mark.parametrize(
    ("matrix", "other", "wrong"),
    [
        (np.ones((4, 0)), np.full((4, 3), np.nan), set()),
        (np.full((4, 3), np.nan), np.ones((4, 0)), set()),
        (np.ones((4, 0)), [NOTHING, NOTHING, [1, 2, 3], NOTHING], {"c"}),
        (np.ones((4, 3)), np.ones((4, 2)), {*IDS}),
    ],
)
def test_vectors_without_dimension_are_no_vectors(matrix, other, wrong):
    assert differing(points(IDS, matrix), points(IDS, other), ROUNDED) == wrong


def test_sparse_vectors_are_compared_and_a_missing_space_differs():
    ones = np.ones((4, 3))
    here = points(IDS, ones, [words(1), words(2), None, words(3, 4)])
    there = points(IDS, ones, [words(1), None, None, words(3, 5)])
    assert differing(here, there, ROUNDED) == {"b", "d"}
    assert differing(here, points(IDS, ones), ROUNDED) == {*IDS}
    assert differing(points(IDS, ones), here, ROUNDED) == set()
