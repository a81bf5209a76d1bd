"""Aliases of QdrantClient's that lead to what is copied, made those of the source.

Those that the copy has given are its own, by the journal, and lead where those of the source lead;
one that the target had before stays as it is.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import cast

from retrieval_store.copying.collection import CollectionCopy
from retrieval_store.copying.journal import Journal
from retrieval_store.copying.telling import Tell
from retrieval_store.errors import AlreadyExistsError, NotFoundError
from retrieval_store.interface.stores import EmbeddedStore
from retrieval_store.places import Session


class Aliases:
    """The aliases of both stores; of a cluster nothing is known, nor done."""

    def __init__(self, source: Session, target: Session, journal: Journal, tell: Tell) -> None:
        self._here = cast(EmbeddedStore, source.store)
        self._there = cast(EmbeddedStore, target.store)
        self._none = source.on_cluster or target.on_cluster
        self._place = target.place
        self._journal = journal
        self._tell = tell
        self._left: set[str] = set()  # of which it was told that they are somebody's own

    def wanted(self, copies: Mapping[str, CollectionCopy]) -> dict[str, CollectionCopy]:
        """The aliases that lead to these collections of the source."""
        if self._none:
            return {}
        named = {one.name: one for one in copies.values()}
        found = {}
        for alias, name in self._here.aliases().items():
            copy = named.get(name)
            if copy is None:  # of another name since it was looked, or none that is copied
                with suppress(NotFoundError):
                    copy = copies.get(self._here.resolved(alias).id)
            if copy is not None:
                found[alias] = copy
        return found

    def refuse_taken(self, aliases: Sequence[str], owned: Collection[str]) -> None:
        """Raise AlreadyExistsError for one that the target can't have; owned: ids of copies, whose
        names are going to be others."""
        taken = self._there.aliases() if aliases else {}
        for alias in aliases:
            with suppress(NotFoundError):
                if alias not in taken and self._there.named(alias).id not in owned:
                    raise AlreadyExistsError(
                        f"alias {alias!r} is the name of a collection {self._place}; a copy "
                        "replaces nothing"
                    )

    def take_back(self, copies: Mapping[str, CollectionCopy], names: Collection[str]) -> bool:
        """Delete those of ours that the source has no more, and those that are names of collections
        now, so that these may be called so; returns whether there were any."""
        wanted = self.wanted(copies)
        stale = [one for one in self._journal.aliases if one not in wanted or one in names]
        if not stale:
            return False
        ours = _names(copies)

        def edit(there: dict[str, str]) -> dict[str, str]:
            return {a: name for a, name in there.items() if a not in stale or name not in ours}

        self._there.change_aliases(edit)
        self._journal.give({a: i for a, i in self._journal.aliases.items() if a not in stale})
        for alias in stale:
            self._tell(f"the alias {alias!r} is gone, as in the source")
        return True

    def give(self, copies: Mapping[str, CollectionCopy]) -> bool:
        """Have the aliases of the source lead to the copies; returns whether any did not."""
        there = {} if self._none else self._there.aliases()
        ours = _names(copies)
        wanted = {a: copy for a, copy in self.wanted(copies).items() if copy.called is not None}
        new = {alias: copy for alias, copy in wanted.items() if there.get(alias) != copy.called}
        self._leave_foreign({a: there[a] for a in new if a in there}, ours)
        later = new.keys() & ours  # names still, of copies that the next look renames or deletes
        new = {a: copy for a, copy in new.items() if a not in self._left and a not in later}
        if not new:
            return bool(later)
        owned = {one.copied_id for one in copies.values() if one.called is not None}
        self.refuse_taken([*new], owned)
        given = {alias: copy.copied_id for alias, copy in new.items()}
        self._journal.give(self._journal.aliases | given)  # before they are: else nobody knows

        def edit(there: dict[str, str]) -> dict[str, str]:
            known = {a for a in new if a not in there or self._is_ours(a, there[a], ours)}
            return there | {alias: cast(str, new[alias].called) for alias in known}

        self._there.change_aliases(edit)
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
