"""Points of a collection in the order of first insertion, in pages."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from qdrant_client import models

from retrieval_store.base.dataclasses import dataclass, replace
from retrieval_store.interface.points import PointId
from retrieval_store.remote.kept.payloads import ORDER, Held, decoded, point_id
from retrieval_store.remote.limits import within
from retrieval_store.remote.space import QdrantCollection, Spaces, VectorsHeld, vectors_of

PAGE = 1_000  # points in one answer
SMALLEST_PAGE = 16


class ListedPoint(NamedTuple):
    """A point: the id that Qdrant knows, what it holds, and those of its vectors that were asked
    for."""

    id: str
    held: Held
    vectors: VectorsHeld


class ListPosition(NamedTuple):
    """An order number, and how many points have smaller ones."""

    order: int
    before: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The points that fulfil a condition. spaces: of the vectors that are read; wanted: how many
    points are likely to be taken, by which the first page is measured."""

    collection: QdrantCollection
    condition: models.Filter | None
    spaces: Spaces = ()
    wanted: int = PAGE

    def points(self, start: int = 0) -> Iterator[ListedPoint]:
        """From the order number `start` on.

        A page ends somewhere among the points of one number; the next one begins with that number,
        and those of it that the first page has had are left to it.
        """
        size = min(self._most, self._slack + 1)  # the last one may be left to a next page
        while True:
            page = self._page(start, size)
            if len(page) < size:
                yield from page
                return
            last = page[-1].held.order
            if page[0].held.order == last:  # there may be more of this number than a page holds
                yield from self._of_order(last)
                start = last + 1
            else:
                yield from (one for one in page if one.held.order < last)
                start = last
            size = self._most

    def at(self, offset: int) -> Iterator[ListedPoint]:
        """All but the first `offset`, which aren't read where Qdrant can count them."""
        told = self.collection.limits.exact  # else what is counted is read all the same
        countable = self.condition is None and told
        start, before = self._place_of(offset) if countable and offset else (0, 0)
        reach = min(PAGE, self.wanted + offset - before)
        return islice(replace(self, wanted=reach).points(start), offset - before, None)

    def _place_of(self, offset: int) -> ListPosition:
        """An order number, and how many points have smaller ones: `offset` or somewhat fewer. Tried
        first is where the last page ended, where who reads page by page goes on."""
        hint = self.collection.hint
        before = self._count_before(hint)
        near = before <= offset <= before + self._slack
        return ListPosition(hint, before) if near else self._searched_place(offset)

    def _searched_place(self, offset: int) -> ListPosition:
        """The same, looked for between the first and the last number: where it would be if they
        were spread evenly, and, since they come in bursts, in the middle by turns."""
        low = ListPosition(self._end(models.Direction.ASC), 0)
        high = ListPosition(self._end(models.Direction.DESC) + 1, self.collection.count())
        if offset >= high.before:
            return high
        evenly = True
        while high.order - low.order > 1 and offset - low.before > self._slack:
            share = 0.5
            if evenly:
                share = (offset - self._slack / 2 - low.before) / (high.before - low.before)
            step = int((high.order - low.order) * share)
            guess = min(max(low.order + step, low.order + 1), high.order - 1)
            place = ListPosition(guess, self._count_before(guess))
            low, high = (place, high) if place.before <= offset else (low, place)
            evenly = not evenly
        return low

    @property
    def _most(self) -> int:
        """How many points a page can have."""
        return min(PAGE, self.collection.limits.query or PAGE)

    @property
    def _slack(self) -> int:
        """How many points too many may be read to find a place."""
        return max(self.wanted, SMALLEST_PAGE)

    def _count_before(self, order: int) -> int:
        return self.collection.count(_orders(lt=order)) if order else 0

    def _end(self, direction: models.Direction) -> int:
        """The first or the last order number; 0 when there is no point."""
        records = self._scroll(1, models.OrderBy(key=ORDER, direction=direction))[0]
        return decoded(records[0].payload).order if records else 0

    def _page(self, start: int, size: int) -> list[ListedPoint]:
        """The first points from an order number on. Which of one number come first is up to Qdrant,
        and changes."""
        records, _ = self._scroll(size, models.OrderBy(key=ORDER, start_from=start))
        return sorted(map(self._found, records), key=_place)

    def _of_order(self, order: int) -> list[ListedPoint]:
        """All points of one number."""
        condition = within(self.condition, self.collection.limits, 1)
        conditions = [] if condition is None else [condition]
        one = models.Filter(must=[*conditions, _orders(gte=order, lte=order)])
        return sorted(replace(self, condition=one)._by_id(), key=_place)

    def _by_id(self) -> Iterator[ListedPoint]:
        """All points, in the order of the ids that Qdrant knows."""
        offset: Any = None
        while True:
            records, offset = self._scroll(self._most, offset=offset)
            yield from map(self._found, records)
            if offset is None:
                return

    def _scroll(
        self, size: int, order_by: models.OrderBy | None = None, offset: Any = None
    ) -> tuple[list[Any], Any]:
        answer: tuple[list[Any], Any] = self.collection.read(
            "scroll",
            self.spaces,
            scroll_filter=self.condition,
            limit=size,
            order_by=order_by,
            offset=offset,
        )
        return answer

    def _found(self, record: Any) -> ListedPoint:
        held = decoded(record.payload)
        return ListedPoint(record.id, held, vectors_of(record, held, self.collection))


def by_id(
    collection: QdrantCollection, ids: Sequence[PointId], spaces: Spaces = ()
) -> Iterator[ListedPoint]:
    """The points of these ids that exist, in the order of the ids."""
    for start in range(0, len(ids), PAGE):
        wanted = [point_id(one) for one in ids[start : start + PAGE]]
        records = {one.id: one for one in collection.read("retrieve", spaces, ids=wanted)}
        for one in wanted:
            if one in records:
                held = decoded(records[one].payload)
                yield ListedPoint(one, held, vectors_of(records[one], held, collection))


def _place(found: ListedPoint) -> tuple[int, str]:
    return found.held.order, found.id


def _orders(**bounds: int) -> models.Filter:
    """Points with order numbers in the bounds."""
    condition = models.FieldCondition(key=ORDER, range=models.Range(**bounds))
    return models.Filter(must=[condition])
