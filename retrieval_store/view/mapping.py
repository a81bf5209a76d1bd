"""A map of a collection: its records in the plane in which their vectors differ most, coloured by
what they hold; and where other records would lie in it."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Matrix
from retrieval_store.base.pca import places_of
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.protocol.codec import Parts, packed
from retrieval_store.query.types import Fields, PointId
from retrieval_store.view.checking import key_of
from retrieval_store.view.reading import allowed
from retrieval_store.view.views import Views

MOST_SHOWN = 200_000  # records
MOST_NAMES = 12  # of categories, of which the last may stand for all others
OTHER = "other"
KINDS = ("dense", "multi", "sparse")


def draw(
    views: Views,
    collection: str,
    space: str | None = None,
    where: Any = None,
    where_document: Any = None,
    keys: Sequence[PointId] | None = None,
    sample: int = MOST_SHOWN,
    seed: int = 0,
    color: str | None = None,
) -> Parts:
    """The map, as a message of JSON and arrays."""
    looked = views.collection(collection)
    name = looked.space(space, KINDS, "space").name
    expression = allowed(where, where_document, keys)
    path = None if color is None else (color,)
    found = looked.points.projected(name, expression, sample, seed, path)
    legend, colors = None, np.full(len(found.ids), np.nan, np.float32)
    if found.values is not None:
        legend, colors = _colored(found.values)
    told = {
        "keys": [*map(key_of, found.ids)],
        "total": found.total,
        "sampled": len(found.ids) < found.total,
        "explained": found.explained.tolist(),
        "color": legend,
    }
    arrays = (found.places, colors, found.axes)
    return packed(told, [np.ascontiguousarray(one, "<f4") for one in arrays])


def _colored(values: Sequence[Any]) -> tuple[Any, Any]:
    """What colours stand for, and that of each record: numbers are a scale, all else are
    categories, the commonest first."""
    held = [one for one in values if one is not None]
    if held and all(isinstance(one, int | float) and not isinstance(one, bool) for one in held):
        numbers = np.array([np.nan if one is None else float(one) for one in values])
        least, greatest = float(np.nanmin(numbers)), float(np.nanmax(numbers))
        halves = (numbers / 2 - least / 2) / ((greatest / 2 - least / 2) or 1.0)  # no overflow
        return {"kind": "numbers", "least": least, "greatest": greatest}, halves
    spelt = [None if one is None else _spelt(one) for one in values]
    counts = Counter(one for one in spelt if one is not None)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    if len(names) > MOST_NAMES:
        other = OTHER if OTHER not in counts else f"{OTHER} values"
        names = [*names[: MOST_NAMES - 1], other]
    places = {name: place for place, name in enumerate(names)}
    rest = float(len(names) - 1)
    colors = [np.nan if one is None else places.get(one, rest) for one in spelt]
    return {"kind": "categories", "names": names}, np.array(colors, np.float32)


def _spelt(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def place(
    views: Views, collection: str, keys: Sequence[PointId], axes: bytes, space: str | None = None
) -> Any:
    """Where records lie in the plane of a map, by its axes; null for those without a vector."""
    looked = views.collection(collection)
    chosen = looked.space(space, ("dense",), "space")
    points = looked.points.get(keys, None, None, 0, Fields(vectors=(chosen.name,)))
    vectors: Any = (points.vectors or {}).get(chosen.name, np.empty((len(points.ids), 0)))
    plane = _plane_in(axes, vectors.shape[1])
    found = places_of(vectors, plane, chosen.metric == "cosine").tolist()
    each = zip(points.ids, found, strict=True)
    where = {point_id: at for point_id, at in each if all(map(math.isfinite, at))}
    return {"places": [where.get(one) for one in keys]}


def _plane_in(axes: bytes, dimension: int) -> Matrix:
    if len(axes) != 3 * 4 * dimension:
        raise InvalidArgumentError(
            f"axes has {len(axes)} bytes, expected {12 * dimension}: three vectors of {dimension} "
            "numbers in float32"
        )
    plane: Matrix = np.frombuffer(axes, "<f4").reshape(3, dimension)
    if not np.isfinite(plane).all():
        raise InvalidArgumentError("axes has numbers that aren't finite")
    return plane
