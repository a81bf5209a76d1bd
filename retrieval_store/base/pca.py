"""Principal component analysis with two axes: shows vectors as points in the plane in which they
differ most. If there are many vectors, the axes are computed from a sample; then all vectors are
projected, block by block."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from retrieval_store.base.arrays import Floats, Ints, Matrix

Read: TypeAlias = Callable[[Ints], Matrix]
DECIDING, MIN_DECIDING = (
    20_000,
    1_000,
)  # vectors that decide the axes, of short ones and of long ones
CELLS = 10_000_000_000  # the limit on products of two numbers for computing the axes
FARTHEST = 1e38  # greatest distance from the middle that float32 can represent
BLOCK = 8_192  # vectors that are projected at the same time


@dataclass(frozen=True, slots=True)
class Plane:
    """A plane in the space of the vectors. axes: (3, d) float32: the mean, and two axes of length
    1, or of length 0 if the vectors don't differ in that many directions. explained: (2,) the share
    of the variance along each axis."""

    axes: Matrix
    explained: Floats


def draw_sample(count: int, sample: int, seed: int) -> Ints:
    """A random sample of `sample` indices below `count`, ascending. If there are no more than
    `sample` indices, all of them are returned."""
    if count <= sample:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, sample, replace=False, shuffle=False))


def project(read: Read, count: int, seed: int, unit: bool) -> tuple[Matrix, Plane]:
    """Project vectors to the plane in which they differ most. Returns their coordinates, (count, 2)
    float32, and the plane. read: returns the vectors, (m, d) float32, at m of the indices below
    `count`. unit: whether to scale vectors to length 1 first."""
    dimension = read(np.empty(0, np.int64)).shape[1]
    max_deciding = max(MIN_DECIDING, min(DECIDING, CELLS // max(1, dimension**2)))
    plane = plane_of(read(draw_sample(count, max_deciding, seed)), unit)
    places = np.empty((count, 2), np.float32)
    for start in range(0, count, BLOCK):
        rows = np.arange(start, min(start + BLOCK, count))
        places[rows] = places_of(read(rows), plane.axes, unit)
    return places, plane


def plane_of(vectors: Matrix, unit: bool) -> Plane:
    """The plane in which (n, d) vectors differ most. The sign of an axis is chosen so that its
    component of greatest magnitude is positive. So the same vectors always give the same plane.
    unit: whether to scale vectors to length 1 first."""
    count, dimension = vectors.shape
    axes = np.zeros((3, dimension), np.float32)
    if not count or not dimension:
        return Plane(axes, np.zeros(2))
    wide = _scale_to_length_1(vectors).astype(np.float64) if unit else vectors.astype(np.float64)
    mean = wide.mean(axis=0)
    wide -= mean
    axes[0] = mean
    variances, directions = _principal(wide)
    total = float(np.einsum("ij,ij->", wide, wide))
    explained = np.zeros(2)
    for i, (variance, direction) in enumerate(zip(variances, directions, strict=True)):
        if total > 0 and variance > total * np.finfo(np.float64).eps * dimension:
            axes[1 + i] = direction * np.sign(direction[np.argmax(np.abs(direction))])
            explained[i] = variance / total
    return Plane(axes, explained)


def _principal(wide: Floats) -> tuple[Any, Any]:
    """The two greatest variances of centred vectors, and their directions, of length 1. If there
    are fewer vectors than dimensions, variances and directions are computed from the matrix of the
    vectors' products with each other."""
    count, dimension = wide.shape
    if count >= dimension:
        values, axes = np.linalg.eigh(wide.T @ wide)
        return values[::-1][:2], axes.T[::-1][:2]
    values, axes = np.linalg.eigh(wide @ wide.T)
    directions = axes.T[::-1][:2] @ wide
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    return values[::-1][:2], np.divide(
        directions, lengths, out=np.zeros_like(directions), where=lengths > 0
    )


def places_of(vectors: Matrix, axes: Matrix, unit: bool) -> Matrix:
    """The coordinates of (n, d) vectors along the two axes of a plane: (n, 2) float32. unit:
    whether to scale vectors to length 1 first."""
    ready = _scale_to_length_1(vectors) if unit else vectors
    with np.errstate(over="ignore", invalid="ignore"):
        places: Matrix = ready @ axes[1:].T - axes[0] @ axes[1:].T
        if not np.isfinite(places).all():  # some products of numbers exceed float32's range
            wide = ready.astype(np.float64) @ axes[1:].T - axes[0].astype(np.float64) @ axes[1:].T
            places = wide.clip(-FARTHEST, FARTHEST).astype(np.float32)
    return places


def _scale_to_length_1(vectors: Matrix) -> Matrix:
    """The vectors scaled to length 1. Zero vectors stay zero."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    scaled: Matrix = np.divide(
        vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0, casting="same_kind"
    )
    return scaled
