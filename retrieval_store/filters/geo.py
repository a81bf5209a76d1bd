"""Conditions on geographic locations: in a box, a circle or a polygon. Locations on the border
don't match."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias, final

import numpy as np

from retrieval_store.base import budget
from retrieval_store.base.arrays import Bools, Floats, Ints
from retrieval_store.filters.columns import LonLat, PlacesAt
from retrieval_store.filters.leaves import ColumnLeaf, KeptPlaces, RowSet

EARTH = 6_371_008.8  # metres: the mean radius
Ring: TypeAlias = tuple[LonLat, ...]  # the last point equals the first
# Locations that are compared with an edge in the time of one step of the budget.
COMPARED_A_STEP = 5


class PlaceLeaf(ColumnLeaf):
    """A condition on geographic locations."""

    __slots__ = ()
    at: PlacesAt

    def inside(self, lon: Floats, lat: Floats) -> Bools:
        """Which of the locations fulfil the condition: (n,) bool."""
        raise NotImplementedError

    def holds(self, value: LonLat) -> bool:
        lon, lat = np.array([value], np.float64).T
        return bool(self.inside(lon, lat)[0])

    def find_rows(self, kept: KeptPlaces) -> RowSet:
        return kept.where(self.inside)


@final
@dataclass(frozen=True, slots=True)
class InBox(PlaceLeaf):
    """Points with a location between two parallels and two meridians. If the western meridian is
    east of the eastern meridian, the box crosses the 180th meridian."""

    at: PlacesAt
    west: float
    north: float
    east: float
    south: float

    def inside(self, lon: Floats, lat: Floats) -> Bools:
        after, before = lon > self.west, lon < self.east
        between = after | before if self.west > self.east else after & before
        within: Bools = between & (lat > self.south) & (lat < self.north)
        return within


@final
@dataclass(frozen=True, slots=True)
class InCircle(PlaceLeaf):
    """Points with a location less than `radius` metres away from the centre."""

    at: PlacesAt
    lon: float
    lat: float
    radius: float

    def inside(self, lon: Floats, lat: Floats) -> Bools:
        return distances(self.lon, self.lat, lon, lat) < self.radius


@final
@dataclass(frozen=True, slots=True)
class InPolygon(PlaceLeaf):
    """Points with a location inside the exterior ring, and neither inside nor on any interior
    ring."""

    at: PlacesAt
    exterior: Ring
    interiors: tuple[Ring, ...] = ()

    def inside(self, lon: Floats, lat: Floats) -> Bools:
        places = _around(self.exterior, lon, lat)
        places = places[encloses(self.exterior, lon[places], lat[places])]
        within = np.zeros(len(lon), np.bool_)
        within[places[~touches(self.exterior, lon[places], lat[places])]] = True
        for ring in self.interiors:
            places = _around(ring, lon, lat)
            places = places[within[places]]
            ring_lon, ring_lat = lon[places], lat[places]
            in_ring = encloses(ring, ring_lon, ring_lat) | touches(ring, ring_lon, ring_lat)
            within[places[in_ring]] = False
        return within


def _around(ring: Ring, lon: Floats, lat: Floats) -> Ints:
    """The positions of the locations in the bounding box of a ring. The comparisons of these
    locations with all edges are counted against the request's budget."""
    lons, lats = zip(*ring, strict=True)
    within = (lon >= min(lons)) & (lon <= max(lons)) & (lat >= min(lats)) & (lat <= max(lats))
    places = np.flatnonzero(within)
    steps = len(ring) * len(places) // COMPARED_A_STEP
    budget.check_steps(steps, "points of a polygon", len(ring))
    return places


def distances(lon: float, lat: float, lons: Floats, lats: Floats) -> Floats:
    """The distances in metres from one location to n other locations: (n,), on a sphere, by the
    haversine formula."""
    from_lat, to_lats = np.radians(lat), np.radians(lats)
    half_lat, half_lon = (to_lats - from_lat) / 2, np.radians(lons - lon) / 2
    part = np.sin(half_lat) ** 2 + np.cos(from_lat) * np.cos(to_lats) * np.sin(half_lon) ** 2
    metres: Floats = 2 * EARTH * np.arcsin(np.sqrt(np.minimum(part, 1.0)))
    return metres


def encloses(ring: Sequence[LonLat], lon: Floats, lat: Floats) -> Bools:
    """Which locations a ring encloses: (n,) bool. The edges are straight on a map. From an enclosed
    location, a line to the east crosses the ring an odd number of times."""
    odd = np.zeros(len(lon), np.bool_)
    for (x, y), (to_x, to_y) in pairwise(ring):
        budget.check()
        if y != to_y:
            crosses = (y > lat) != (to_y > lat)
            odd ^= crosses & (lon < (to_x - x) * (lat - y) / (to_y - y) + x)
    return odd


def touches(ring: Sequence[LonLat], lon: Floats, lat: Floats) -> Bools:
    """Which locations are on the ring itself: (n,) bool."""
    on = np.zeros(len(lon), np.bool_)
    for (x, y), (to_x, to_y) in pairwise(ring):
        budget.check()
        straight = (to_x - x) * (lat - y) == (to_y - y) * (lon - x)
        beside = (lon >= min(x, to_x)) & (lon <= max(x, to_x))
        on |= straight & beside & (lat >= min(y, to_y)) & (lat <= max(y, to_y))
    return on
