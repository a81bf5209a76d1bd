"""Copies collections from one store to another: which ones, whether it can, and in which order.

Doing a step twice does no harm, and the journal notes each finished step, so that a copy that was
broken off goes on, and a finished one is brought level. What the source renames, deletes and makes
anew, the copy does too, with the collections that are its own by the journal; all else in the
target stays, and is an error where it is in the way.

Aliases of QdrantClient's that lead to copied collections become those of the source (`Aliases`).
Those that the copy has made are its own, by the journal, and lead where those of the source lead;
one that the target had before stays as it is.

`telling` reports what a copy does: to the caller, and in the log.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

from retrieval_store.api.results import Copied
from retrieval_store.backends import Session
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.tracing import log_of
from retrieval_store.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    ReadOnlyError,
)
from retrieval_store.query.types import CollectionRecord
from retrieval_store_cluster.copying import journal as journals
from retrieval_store_cluster.copying.collection import CollectionCopy, SpacesOf, is_there
from retrieval_store_cluster.copying.journal import Journal
from retrieval_store_cluster.copying.place import follow as follow_until
from retrieval_store_cluster.copying.place import unused_name

Tell: TypeAlias = Callable[[str], object]
_log = log_of("store")


def telling(on_change: Tell | None) -> Tell:
    """A function that prints a line."""

    def tell(line: str) -> None:
        _log.info("copying: %s", line)
        if on_change is not None:
            on_change(line)

    return tell


class Aliases:
    """The aliases of both stores; on a cluster they are neither read nor changed."""

    def __init__(self, source: Session, target: Session, journal: Journal, tell: Tell) -> None:
        here, there = source.store.engine, target.store.engine
        self._stores = None if here is None or there is None else (here, there)
        self._place = target.place
        self._journal = journal
        self._tell = tell
        self._left: set[str] = set()  # of which it was told that they aren't ours

    def wanted(self, copies: Mapping[str, CollectionCopy]) -> dict[str, CollectionCopy]:
        """The aliases that lead to these collections of the source."""
        if self._stores is None:
            return {}
        here, _ = self._stores
        named = {one.name: one for one in copies.values()}
        found = {}
        for alias, name in here.aliases().items():
            copy = named.get(name)
            if copy is None:  # of another name since it was looked, or none that is copied
                with suppress(NotFoundError):
                    copy = copies.get(here.resolved(alias).id)
            if copy is not None:
                found[alias] = copy
        return found

    def refuse_taken(self, aliases: Sequence[str], owned: Collection[str]) -> None:
        """Raise AlreadyExistsError for an alias that the target has already; owned: ids of copies
        that will be renamed."""
        if self._stores is None or not aliases:
            return
        _, store = self._stores
        taken = store.aliases()
        for alias in aliases:
            with suppress(NotFoundError):
                if alias not in taken and store.named(alias).id not in owned:
                    raise AlreadyExistsError(
                        f"alias {alias!r} is the name of a collection {self._place}; a copy "
                        "replaces nothing"
                    )

    def take_back(self, copies: Mapping[str, CollectionCopy], names: Collection[str]) -> bool:
        """Delete those of our aliases that the source has no more, or that are now names of
        collections; returns whether there were any."""
        if self._stores is None:
            return False
        _, store = self._stores
        wanted = self.wanted(copies)
        stale = [one for one in self._journal.aliases if one not in wanted or one in names]
        if not stale:
            return False
        ours = _names(copies)

        def edit(there: dict[str, str]) -> dict[str, str]:
            return {a: name for a, name in there.items() if a not in stale or name not in ours}

        store.change_aliases(edit)
        self._journal.give({a: i for a, i in self._journal.aliases.items() if a not in stale})
        for alias in stale:
            self._tell(f"the alias {alias!r} is gone, as in the source")
        return True

    def give(self, copies: Mapping[str, CollectionCopy]) -> bool:
        """Make the aliases of the source lead to the copies; returns whether any changed."""
        if self._stores is None:
            return False
        _, store = self._stores
        there, ours, wanted = store.aliases(), _names(copies), self.wanted(copies)
        names = {a: name for a, copy in wanted.items() if (name := copy.called) is not None}
        new = {alias: wanted[alias] for alias, name in names.items() if there.get(alias) != name}
        self._leave_foreign({a: there[a] for a in new if a in there}, ours)
        later = new.keys() & ours  # names still, of copies that the next look renames or deletes
        new = {a: copy for a, copy in new.items() if a not in self._left and a not in later}
        if not new:
            return bool(later)
        owned = {one.copied_id for one in copies.values() if one.called is not None}
        self.refuse_taken([*new], owned)
        given = {alias: copy.copied_id for alias, copy in new.items()}
        # Before they are: else a process that dies between the two leaves some that aren't ours.
        self._journal.give(self._journal.aliases | given)

        def edit(there: dict[str, str]) -> dict[str, str]:
            known = {a for a in new if a not in there or self._is_ours(a, there[a], ours)}
            return there | {alias: names[alias] for alias in known}

        store.change_aliases(edit)
        for alias, copy in new.items():
            self._tell(f"the alias {alias!r} leads to {copy.called!r}, as in the source")
        return True

    def _leave_foreign(self, taken: Mapping[str, str], ours: Collection[str]) -> None:
        """Leave aliases alone that lead elsewhere and aren't ours, and report it once."""
        foreign = {alias for alias, name in taken.items() if not self._is_ours(alias, name, ours)}
        for alias in sorted(foreign - self._left):
            self._tell(f"the alias {alias!r} leads elsewhere {self._place}, and is left alone")
        self._left = foreign

    def _is_ours(self, alias: str, name: str, ours: Collection[str]) -> bool:
        return alias in self._journal.aliases and name in ours


def _names(copies: Mapping[str, CollectionCopy]) -> set[str]:
    """The names of the existing copies."""
    return {one.called for one in copies.values() if one.called is not None}


class Mirror:
    """The copies of all collections, or of the named ones, by their ids in the source."""

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
        """The ids of the collections of this mirror that have copies."""
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
            try:
                self._refuse(copy, there, only_alike, if_exists)
            except NotFoundError as error:
                self._refuse_lost(copy, error, goes_on=not only_alike)
        self._aliases.refuse_taken([*self._aliases.wanted(here)], there)

    def _refuse(
        self, copy: CollectionCopy, owned: set[str], only_alike: bool, if_exists: bool
    ) -> None:
        copy.refuse_unfit()
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
        """Update all copies; returns whether anything had changed. goes_on: whether it is called
        again, so that a collection that was deleted meanwhile is no error."""
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
        """Rename the copies like their sources, in an order in which no two have one name; those
        that swap names get temporary ones."""
        there = [one for one in self.copies.values() if one.place.called is not None]
        moved = [one for one in there if one.place.called != one.name]
        lines = [
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
        for line in lines:
            self._tell(line)
        return bool(lines)

    def _level_one(self, record: CollectionRecord, goes_on: bool) -> bool:
        copy = self.copies.get(record.id)
        is_new = copy is None
        if copy is None:
            copy = self._copy_of(record)
        try:
            if is_new:
                owned = {one.copied_id for one in self.copies.values() if one.called is not None}
                copy.refuse_unfit()
                copy.place.refuse_taken(owned)
                self.copies[record.id] = copy
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
        """Raise NotFoundError for a collection, or a copy, that was deleted during the copy, unless
        the next call handles it."""
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
        """The copies by name, with the result of `CollectionCopy.compared` for each."""
        for copy in sorted(self.copies.values(), key=lambda one: one.name):
            try:
                yield copy, copy.compared()
            except NotFoundError as error:
                self._refuse_lost(copy, error, goes_on=False)

    def finish(self) -> None:
        """The copy is complete: the copies belong to the owner of the target now."""
        self._journal.finish([one for one, copy in self.copies.items() if copy.alike is None])


@dataclass(frozen=True, slots=True)
class Following:
    """How to follow. quiet: seconds without a change after which it ends; goes_on: whether there is
    a reason not to end; on_level: called when nothing is left to copy for the first time."""

    quiet: float
    goes_on: Callable[[], bool]
    on_level: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Ways:
    """How to copy. following: None not to follow; shown: whether to show progress bars; spaces_of:
    the vector spaces of a collection that doesn't list them; if_exists: whether to raise for a
    collection that was copied before, instead of updating the copy; on_change: called with lines
    about other changes."""

    following: Following | None
    shown: bool
    spaces_of: SpacesOf
    if_exists: bool = False
    on_change: Tell | None = None


def copy_store(
    source: Session,
    target: Session,
    names: Sequence[str] | None,
    spaces_of: SpacesOf,
    *,
    follow: bool | Callable[[], bool] = False,
    quiet: float = 2.0,
    on_level: Callable[[], object] | None = None,
    on_change: Tell | None = None,
    fail_if_exists: bool = False,
    show_progress: bool = False,
) -> list[Copied]:
    """Copy collections, all if `names` is None, into another store, where these names must be free
    or belong to earlier copies; then compare both. An interrupted copy is resumed where it
    stopped. spaces_of: the vector spaces of a collection that doesn't list them; the other
    arguments are those of `Client.copy_to`."""
    goes_on = follow if callable(follow) else lambda: False
    following = Following(quiet, goes_on, on_level or (lambda: None)) if follow else None
    ways = Ways(following, show_progress, spaces_of, fail_if_exists, on_change)
    _refuse_impossible(source, target, ways)
    folders = [one.store.directory for one in (target, source) if not one.read_only]
    with journals.open_journal(folders, (source.place, target.place)) as journal:
        mirror = Mirror(
            source, target, names, journal, telling(ways.on_change), ways.shown, ways.spaces_of
        )
        mirror.refuse_taken(ways.following is None, ways.if_exists)
        _level(mirror, ways.following)
        found = [Copied(one.name, *counts, one.is_level) for one, counts in mirror.compared()]
        mirror.finish()
        return found


def _level(mirror: Mirror, following: Following | None) -> None:
    """Copy all, and follow as long as wanted."""
    mirror.level(goes_on=following is not None)
    if following is not None:
        follow_until(
            lambda: mirror.level(goes_on=True),
            following.quiet,
            following.goes_on,
            following.on_level,
        )


def _refuse_impossible(source: Session, target: Session, ways: Ways) -> None:
    """Raise InvalidArgumentError for a store that would be copied into itself, or can't be
    followed, ReadOnlyError for a target that can't be written."""
    if target.read_only:
        raise ReadOnlyError(f"the store {target.place} is open read-only; nothing is copied there")
    directory = source.store.directory
    same = directory is not None and directory == target.store.directory
    if same or source.store is target.store:
        raise InvalidArgumentError(f"both are one store, {source.place}: there is nothing to copy")
    if ways.following is not None and source.on_cluster:
        raise InvalidArgumentError(
            f"following isn't supported {source.place}, which keeps no such log"
        )
