"""The collections of the source and of the target: which are copied, and what they are called.

What the source renames, deletes and makes anew, the copy does too, with what the journal knows to
be its own; all else in the target stays, and is an error where it is in the way.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from retrieval_store.copying.aliases import Aliases
from retrieval_store.copying.collection import CollectionCopy, SpacesOf, is_there
from retrieval_store.copying.journal import Journal
from retrieval_store.copying.placing import unused_name
from retrieval_store.copying.telling import Tell
from retrieval_store.errors import NotFoundError
from retrieval_store.places import Session
from retrieval_store.query.types import CollectionRecord


class Mirror:
    """The copies of all collections, or of those that are named, by their ids in the source."""

    def __init__(
        self,
        source: Session,
        target: Session,
        names: Sequence[str] | None,
        journal: Journal,
        tell: Tell,
        shown: bool,
        spaces_of: SpacesOf,
    ) -> None:
        self._source = source
        self._target = target
        self._names = None if names is None else [*dict.fromkeys(names)]
        self._journal = journal
        self._tell = tell
        self._shown = shown
        self._spaces_of = spaces_of
        self._aliases = Aliases(source, target, journal, tell)
        self._begun: set[str] = set()
        self.copies = {one.id: self._copy_of(one) for one in self._records()}
        self._forget_gone()

    def _copy_of(self, record: CollectionRecord) -> CollectionCopy:
        return CollectionCopy(
            self._source, self._target, record, self._journal, self._shown, self._spaces_of
        )

    def _records(self) -> list[CollectionRecord]:
        """What is to be copied, as the source has it now. Of the collections that are named: those
        that are called so, and those whose copies were made when they were."""
        store = self._source.store
        if self._names is None:
            return store.page(None, 0)
        found: dict[str, CollectionRecord] = {}
        for name in self._names:
            with suppress(NotFoundError):
                record = store.named(name)
                found[record.id] = record
        for one in self._known():
            with suppress(NotFoundError):
                found[one] = store.record(one)
        return [*found.values()]

    def _known(self) -> list[str]:
        """The ids of the collections of which there are copies, in so far as this is about them."""
        entries = self._journal.entries
        if self._names is None:
            return [*entries]
        names = set(self._names)
        return [one for one, e in entries.items() if one in self._begun or names & {*e.names}]

    def _forget_gone(self) -> None:
        """What was copied to its end, and the source has no more, is left to the owner of the
        target; of what was broken off, the next look deletes the copy. But only where the source
        still has something else that was copied: another store may have come in its place, of
        which it may be said as well that it has none of this, and then the copy may be all that
        there is."""
        is_known = any(is_there(self._source, one) for one in self._journal.entries)
        for one in self._known():
            if one in self.copies:
                continue
            entry = self._journal.entries[one]
            name = entry.names[-1] if entry.names else ""
            if entry.finished or not is_known:
                how = "finished" if entry.finished else "broken off"
                self._tell(f"{name!r} is gone from the source; its copy stays, which was {how}")
                self._journal.forget([one])
            else:
                self.copies[one] = self._copy_of(CollectionRecord(one, name, {}))
                self._begun.add(one)

    def refuse_taken(self, only_alike: bool, if_exists: bool) -> None:
        """Raise for a collection, or an alias, that the target can't have, before anything is
        copied. only_alike: whether a collection of the name that holds the same is as good as a
        copy; if_exists: whether to raise for what has been copied already, too."""
        gone = {one for one in self.copies if one in self._begun}
        there = {one.copied_id for one in self.copies.values() if one.place.called is not None}
        here = {one: copy for one, copy in self.copies.items() if one not in gone}
        for copy in here.values():
            self._refuse(copy, there, only_alike, if_exists)
        self._aliases.refuse_taken([*self._aliases.wanted(here)], there)

    def _refuse(
        self, copy: CollectionCopy, owned: set[str], only_alike: bool, if_exists: bool
    ) -> None:
        copy.place.refuse_apart()
        there = copy.place.there()
        foreign = there is not None and there.id not in owned
        if if_exists and (foreign or (copy.place.called is not None and copy.place.known.finished)):
            copy.place.refuse(copy.place.called or copy.name)
        if foreign and copy.place.called is None and only_alike and copy.take_alike():
            return
        copy.place.refuse_taken(owned, self._why(only_alike))
        copy.refuse_changed()

    def _why(self, only_alike: bool) -> str:
        return ", and isn't a copy" if not only_alike else ", and holds something else"

    def level(self, goes_on: bool) -> bool:
        """Bring all level with the source; returns whether anything had changed. goes_on: whether
        it is looked again afterwards, so that what is deleted meanwhile is no error."""
        records = {one.id: one for one in self._records()}
        changed = self._drop_gone(records)
        names = {one.name for one in records.values()}
        changed = self._aliases.take_back(self.copies, names) or changed
        for one, copy in self.copies.items():
            copy.place.record = records.get(one, copy.place.record)
        changed = self._rename() or changed
        for record in records.values():
            changed = self._level_one(record, goes_on) or changed
        return self._aliases.give(self.copies) or changed

    def _drop_gone(self, records: Mapping[str, CollectionRecord]) -> bool:
        gone = [one for one, c in self.copies.items() if one not in records and c.is_gone]
        for one in gone:
            copy = self.copies.pop(one)
            self._begun.discard(one)
            called = copy.place.called
            if copy.place.drop():
                self._tell(f"{called!r} is deleted, as in the source")
            elif called is not None:
                self._tell(
                    f"{called!r} is gone from the source; its copy was written to by others,"
                    " and stays"
                )
        return bool(gone)

    def _rename(self) -> bool:
        """Call the copies what the source calls them now, in an order in which no two have one
        name; those that change names with each other get others for a moment."""
        there = [one for one in self.copies.values() if one.place.called is not None]
        moved = [one for one in there if one.place.called != one.name]
        told = [
            f"{one.place.called!r} is called {one.name!r} now, as in the source" for one in moved
        ]
        while moved:
            taken = {one.place.called for one in there}
            free = next((one for one in moved if one.name not in taken), None)
            if free is None:
                moved[0].place.rename(unused_name())
                continue
            free.place.rename(free.name)
            free.is_level = False
            moved.remove(free)
        for line in told:
            self._tell(line)
        return bool(told)

    def _level_one(self, record: CollectionRecord, goes_on: bool) -> bool:
        copy = self.copies.get(record.id)
        is_new = copy is None
        if copy is None:
            copy = self._copy_of(record)
            owned = {one.copied_id for one in self.copies.values() if one.called is not None}
            copy.place.refuse_apart()
            copy.place.refuse_taken(owned)
            self.copies[record.id] = copy
        try:
            if record.id in self._begun:
                return copy.catch_up()
            copy.copy()
        except NotFoundError as error:
            self._refuse_lost(copy, error, goes_on)
            return True
        self._begun.add(record.id)
        if is_new:
            self._tell(f"{record.name!r} is copied too, which is new in the source")
        return not copy.is_level

    def _refuse_lost(self, copy: CollectionCopy, error: NotFoundError, goes_on: bool) -> None:
        """Raise NotFoundError for a collection, or a copy, that was deleted while it was copied,
        unless the next look sees to it."""
        where = self._target.place
        if not copy.is_gone:
            raise NotFoundError(
                f"the copy of collection {copy.name!r} {where} was deleted while it was made"
            ) from error
        if not goes_on:
            raise NotFoundError(
                f"collection {copy.name!r} was deleted while it was copied; what there is of its "
                f"copy {where} stays until the same copy is made again"
            ) from error

    def compared(self) -> Iterator[tuple[CollectionCopy, tuple[int, int, int]]]:
        """The copies, by their names, with what `CollectionCopy.compared` says of each."""
        for copy in sorted(self.copies.values(), key=lambda one: one.name):
            try:
                yield copy, copy.compared()
            except NotFoundError as error:
                self._refuse_lost(copy, error, goes_on=False)

    def finish(self) -> None:
        """All is done: from here on the copies are their owner's."""
        self._journal.finish([one for one, copy in self.copies.items() if copy.alike is None])
