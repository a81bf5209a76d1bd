"""Copying the points of a collection in pages, resuming after an earlier transfer."""

from collections.abc import Sequence
from typing import Any

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.tracing import progress_bar
from retrieval_store.copying.following import split
from retrieval_store.copying.journal import Entry, Journal
from retrieval_store.copying.pages import (
    append,
    append_each,
    delete_others,
    everything,
    pages,
    put_in_order,
    write_differing,
    write_each,
    write_named,
)
from retrieval_store.query.protocols import PointsBackend
from retrieval_store.query.types import Changed, Position


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer of all points of a collection.

    source: the source's points, a private copy in one state unless on a cluster; copied: the points
    of the target; spaces: the vector spaces to copy; journal: notes the progress; position: that of
    the source's change log before the copy was taken, None for a cluster, which has none; resumed:
    whether the target collection existed before; name: for the progress bar; shown: whether to show
    the bar.
    """

    source: PointsBackend
    copied: PointsBackend
    spaces: Sequence[str]
    journal: Journal
    collection_id: str
    position: Position | None
    resumed: bool
    name: str
    shown: bool

    def run(self) -> int:
        """Make the target hold what the source holds, in the same order. Returns how many points
        were missing in the target, or differed."""
        entry, changed = self._resume()
        moved = self._copy_pages(entry)
        if changed is not None:
            self._copy_changed(changed)
        if self.copied.count() > self.source.count():
            moved += delete_others(self.source, self.copied)
        if self.resumed and self.position is None:  # which lacks a log of points added again
            moved += put_in_order(self.source, self.copied, self.spaces)
        return moved

    def _resume(self) -> tuple[Entry, Changed | None]:
        """The journal's entry to resume from, and the points changed since; None for these if all
        points are copied from the first on, or the source is a cluster.

        Points are copied in the order of insertion. Of the `entry.done` points copied before the
        transfer was interrupted some may have been deleted since, so the first done - deleted
        points are certain to be copied. All numbers are read from one state, that of `source`."""
        entry, points = self.journal.entries[self.collection_id], self.source.engine
        if points is None or self.position is None:
            return entry, None
        count = points.count()
        changed = None
        if entry.done and entry.position is not None:
            changed = points.changed_since(entry.position)
        if changed is None or changed.ids is None:  # the log doesn't reach back: copy all points
            anew: dict[str, Any] = {"done": 0, "position": self.position, "count": count}
            return self.journal.advance(self.collection_id, **anew), None
        deleted = max(0, entry.count - (count - changed.inserted))
        done = max(0, entry.done - deleted)
        return self.journal.advance(self.collection_id, done=done), changed

    def _copy_pages(self, entry: Entry) -> int:
        """Copy the points after the first `entry.done`; returns how many were written. On a cluster
        the first ones may have changed since without notice, so they are compared."""
        fields, written = everything(self.spaces), 0
        start = 0 if self.position is None else entry.done
        # If the target has more points, a page was written but not noted, or all is copied again.
        put = write_each if self.copied.count() <= start else append_each
        with progress_bar(self.name, self.source.count(), "point", self.shown) as bar:
            bar.update(start)
            found = pages(self.source, fields, start)
            while start < entry.done and (page := next(found, None)) is not None:
                written += write_differing(self.copied, page, fields)
                start += len(page.ids)
                self._note_done(max(start, entry.done))
                bar.update(len(page.ids))
            for number in put(self.copied, found):
                start, written = start + number, written + number
                self._note_done(max(start, entry.done))
                bar.update(number)
        return written

    def _note_done(self, done: int) -> None:
        self.journal.advance(self.collection_id, done=done)

    def _copy_changed(self, changed: Changed) -> None:
        updated, inserted = split(changed)
        write_named(self.source, self.copied, updated, self.spaces)
        write_named(self.source, self.copied, inserted, self.spaces, append)
