"""Points on their way to a copy in pages, as far as an earlier transfer hasn't brought them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retrieval_store.base.progress import progress_bar
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
from retrieval_store.interface.points import Changed, Position
from retrieval_store.interface.stores import PointsBackend


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer of all points of a collection.

    source: its points, in one state where that can be had; copied: those of the copy; spaces: the
    vector spaces that are copied; position: of the source, before that state, None for a cluster,
    which tells none; resumed: whether the copy was there before; name: for the progress bar, which
    is shown or not.
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
        """Make the copy hold what the source holds, in the same order. Returns how many points an
        earlier transfer hadn't brought, or had brought otherwise."""
        entry, changed = self._resume()
        moved = self._copy_pages(entry)
        if changed is not None:
            self._copy_changed(changed)
        if self.copied.count() > self.source.count():
            moved += delete_others(self.source, self.copied)
        if self.resumed and self.position is None:  # which doesn't tell what was added again
            moved += put_in_order(self.source, self.copied, self.spaces)
        return moved

    def _resume(self) -> tuple[Entry, Changed | None]:
        """The entry to go on with, and which points are otherwise now. Where a copy was broken off
        there are at least so many points behind it as were done less all that were deleted since.
        All is told by one state, that of `source`."""
        entry, points = self.journal.entries[self.collection_id], self.source.embedded
        if points is None or self.position is None:
            return entry, None
        count = points.count()
        changed = None
        if entry.done and entry.position is not None:
            changed = points.changed_since(entry.position)
        if changed is None or changed.ids is None:  # all is copied, from the first point on
            anew: dict[str, Any] = {"done": 0, "position": self.position, "count": count}
            return self.journal.advance(self.collection_id, **anew), None
        deleted = max(0, entry.count - (count - changed.inserted))
        done = max(0, entry.done - deleted)
        return self.journal.advance(self.collection_id, done=done), changed

    def _copy_pages(self, entry: Entry) -> int:
        """Copy all points but those that are done; returns how many were written. A cluster may
        have changed these since, and won't say so: there they are compared."""
        fields, written = everything(self.spaces), 0
        start = 0 if self.position is None else entry.done
        # Of the rest something is there already where a page wasn't noted, or all is copied again.
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
