"""Vectors drawn in a plane: where points lie along the two directions in which they differ most."""

from typing import Any, TypeAlias

import numpy as np

from retrieval_store.base.arrays import Floats, Matrix
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.paths import PayloadPath
from retrieval_store.interface.points import PointId

Shown: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Projection:
    """Points in a plane, in the order of insertion.

    places: (n, 2) float32; axes: (3, d) float32, the mean and the first two principal axes, of
    which `base.projection.places_of` makes the places of other vectors; explained: (2,) the share
    of the variance along each; total: how many points there are of which these are a sample;
    values: what each has at a path, None where no path was given.
    """

    ids: list[PointId]
    places: Matrix
    axes: Matrix
    explained: Floats
    total: int
    values: list[Shown] | None = None


def nothing_in(path: PayloadPath | None) -> Projection:
    """Of a space without any vector."""
    none = np.empty((0, 2), np.float32)
    axes = np.zeros((3, 0), np.float32)
    return Projection([], none, axes, np.zeros(2), 0, None if path is None else [])


def refuse_other_kind(space: str, kind: str) -> None:
    """Raise InvalidArgumentError for a space in which points don't have one dense vector."""
    if kind != "dense":
        raise InvalidArgumentError(
            f"space is {space!r}, whose vectors are {kind}; only dense ones can be projected"
        )


def scalar(value: Any) -> Shown:
    """What is shown of a value: of a list the first that is in it, of an object nothing."""
    if isinstance(value, list):
        value = next((one for one in value if one is not None), None)
    return None if isinstance(value, list | dict) else value
