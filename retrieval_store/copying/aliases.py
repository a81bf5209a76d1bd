"""Aliases of QdrantClient's that lead to what is copied, made those of the source.

Those that the copy has given are its own, by the journal, and lead where those of the source lead;
one that the target had before stays as it is.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from retrieval_store.copying.collection import CollectionCopy
from retrieval_store.copying.journal import Journal
from retrieval_store.copying.telling import Tell
from retrieval_store.errors import AlreadyExistsError, NotFoundError
from retrieval_store.places import Session


class Aliases:
    """The aliases of both stores; where one is a cluster nothing is known of them, nor done."""

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
        """Raise AlreadyExistsError for one that the target can't have; owned: ids of copies, whose
        names are going to be others."""
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
        """Delete those of ours that the source has no more, and those that are names of collections
        now, so that these may be called so; returns whether there were any."""
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
        """Have the aliases of the source lead to the copies; returns whether any did not."""
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
        """Leave alone, and say so once, those that aren't the copy's and lead elsewhere."""
        foreign = {alias for alias, name in taken.items() if not self._is_ours(alias, name, ours)}
        for alias in sorted(foreign - self._left):
            self._tell(f"the alias {alias!r} leads elsewhere {self._place}, and is left alone")
        self._left = foreign

    def _is_ours(self, alias: str, name: str, ours: Collection[str]) -> bool:
        return alias in self._journal.aliases and name in ours


def _names(copies: Mapping[str, CollectionCopy]) -> set[str]:
    """What the copies are called that are there."""
    return {one.called for one in copies.values() if one.called is not None}
