"""The plane of greatest variance is that of numpy's singular value decomposition."""

import numpy as np
import pytest

from retrieval_store.base.pca import draw_sample, places_of, plane_of, project
from tests.helpers.tuned import tuned


def vectors(count, dimension, seed=0):
    """Vectors with different variances by direction, around a mean other than 0."""
    random = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(random.normal(size=(dimension, dimension)))
    spread = 0.7 ** np.arange(dimension)
    found = random.normal(size=(count, dimension)) * spread @ turned.T + random.normal(
        size=dimension
    )
    return found.astype(np.float32)


def by_numpy(matrix):
    """Mean, two axes and their shares of the variance."""
    wide = matrix.astype(np.float64)
    mean = wide.mean(axis=0)
    _, lengths, axes = np.linalg.svd(wide - mean, full_matrices=False)
    return mean, axes[:2], (lengths**2 / (lengths**2).sum())[:2]


@pytest.mark.parametrize(("count", "dimension"), [(500, 12), (30, 80), (7, 7), (2, 3), (3, 2)])
@pytest.mark.parametrize("unit", [False, True])
def test_axes_and_shares_are_those_of_svd(count, dimension, unit):
    matrix = vectors(count, dimension)
    ready = matrix / np.linalg.norm(matrix, axis=1, keepdims=True) if unit else matrix
    mean, axes, shares = by_numpy(ready)
    plane = plane_of(matrix, unit)
    assert plane.axes[0] == pytest.approx(mean, abs=1e-6)
    assert plane.explained == pytest.approx(shares, abs=1e-6)
    for own, other, share in zip(plane.axes[1:], axes, shares, strict=True):
        if share > 1e-9:
            assert abs(own @ other) == pytest.approx(1, abs=1e-5)
            assert own[np.argmax(np.abs(own))] > 0
        else:
            assert not own.any()
    wanted = (ready - mean) @ plane.axes[1:].T
    assert places_of(matrix, plane.axes, unit) == pytest.approx(wanted, abs=1e-5)


def test_vectors_that_do_not_differ_have_no_axes():
    for matrix in (np.ones((5, 3)), np.zeros((4, 2)), np.ones((1, 4)), np.ones((0, 3))):
        plane = plane_of(matrix.astype(np.float32), False)
        assert not plane.axes[1:].any() and not plane.explained.any()
        assert not places_of(matrix.astype(np.float32), plane.axes, False).any()
    plane = plane_of(np.outer(np.arange(5), [3, 4]).astype(np.float32), False)
    assert plane.explained == pytest.approx([1, 0]) and not plane.axes[2].any()
    assert plane.axes[1] == pytest.approx([0.6, 0.8])


def test_vectors_of_length_0_have_a_place_where_others_have_length_1():
    matrix = np.array([[0, 0], [2, 0], [0, 9]], np.float32)
    places, plane = project(lambda some: matrix[some], 3, 0, True)
    assert np.isfinite(places).all() and plane.explained.sum() == pytest.approx(1)


def test_a_sample_decides_and_all_are_projected_in_blocks(monkeypatch):
    tuned(monkeypatch, projection_block=64, projection_deciding=300, projection_fewest=10)
    matrix, most = vectors(1000, 6), []

    def read(some):
        most.append(len(some))
        return matrix[some]

    places, plane = project(read, len(matrix), 3, False)
    assert max(most) == 300 and places.shape == (1000, 2)
    assert places == pytest.approx(places_of(matrix, plane.axes, False), abs=1e-5)
    chosen = matrix[draw_sample(1000, 300, 3)]
    assert plane.axes == pytest.approx(plane_of(chosen, False).axes, abs=1e-5)
    again, _ = project(read, len(matrix), 3, False)
    assert (again == places).all()


def test_fewer_long_vectors_decide(monkeypatch):
    tuned(monkeypatch, projection_cells=50 * 20**2, projection_fewest=10)
    matrix, most = vectors(400, 20), []

    def read(some):
        most.append(len(some))
        return matrix[some]

    project(read, len(matrix), 0, False)
    assert most[1] == 50


def test_samples_are_repeatable_ascending_and_distinct():
    found = draw_sample(1000, 100, 5)
    assert (found == draw_sample(1000, 100, 5)).all() and (found != draw_sample(1000, 100, 6)).any()
    assert len(set(found.tolist())) == 100 and (np.diff(found) > 0).all()
    assert draw_sample(5, 100, 0).tolist() == [0, 1, 2, 3, 4]
