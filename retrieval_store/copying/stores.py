"""Copying collections from one store to another: which, whether it can be, in which order.

What is done twice does no harm, and the journal notes what is done, so that a copy that was broken
off goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from retrieval_store.copying import journal as journals
from retrieval_store.copying.collection import CollectionCopy, SpacesOf
from retrieval_store.copying.following import TooFarError, follow
from retrieval_store.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    ReadOnlyError,
)
from retrieval_store.interface.records import CollectionRecord
from retrieval_store.interface.stores import CollectionStore, EmbeddedStore
from retrieval_store.places import Session


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied of one collection. points: how many the copy holds; followed: how many were
    copied again since they had been written meanwhile; compared: how many were looked at in both
    and found alike."""

    name: str
    points: int
    followed: int
    compared: int


@dataclass(frozen=True, slots=True)
class Following:
    """How to follow. quiet: the seconds for which the sources must rest before it ends; goes_on:
    whether there is a reason not to end then; on_level: called when there is nothing left to copy
    for the first time."""

    quiet: float
    goes_on: Callable[[], bool]
    on_level: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Ways:
    """How to copy. following: None not to follow; shown: whether bars are; spaces_of: the vector
    spaces of a collection that doesn't tell them."""

    following: Following | None
    shown: bool
    spaces_of: SpacesOf


def copy_store(
    source: Session, target: Session, names: Sequence[str] | None, ways: Ways
) -> list[Copied]:
    """Copy collections, all when none is named, into another store, where none of these names is
    taken; then look at both. One that was broken off goes on where it stopped."""
    _refuse_impossible(source, target, ways)
    folders = [one.store.directory for one in (target, source) if not one.read_only]
    with journals.opened(folders, (source.place, target.place)) as journal:
        copies = {
            record.id: CollectionCopy(source, target, record, journal, ways.shown, ways.spaces_of)
            for record in _records(source.store, names)
        }
        for one in copies.values():
            one.refuse_taken()
        aliases = _aliases(source, target, copies)
        for one in copies.values():
            one.copy()
        if ways.following is not None:
            _follow([*copies.values()], ways.following)
        found = [Copied(one.name, *one.compared()) for one in copies.values()]
        _give_aliases(target, {alias: copies[one].copied_id for alias, one in aliases.items()})
        journal.forget(copies)
        return found


def _refuse_impossible(source: Session, target: Session, ways: Ways) -> None:
    """Raise InvalidArgumentError for a store that would be copied into itself, or can't be
    followed, ReadOnlyError for a target where nothing can be written."""
    if target.read_only:
        raise ReadOnlyError(f"the store {target.place} is open read-only; nothing is copied there")
    directory = source.store.directory
    same = directory is not None and directory == target.store.directory
    if same or source.store is target.store:
        raise InvalidArgumentError(f"both are one store, {source.place}: there is nothing to copy")
    if ways.following is not None and source.on_cluster:
        raise InvalidArgumentError(f"follow isn't there {source.place}, which keeps no such log")


def _records(store: CollectionStore, names: Sequence[str] | None) -> list[CollectionRecord]:
    if names is None:
        return store.page(None, 0)
    return [store.named(name) for name in dict.fromkeys(names)]


def _follow(copies: Sequence[CollectionCopy], ways: Following) -> None:
    while True:
        try:
            follow([one.follower() for one in copies], ways.quiet, ways.goes_on, ways.on_level)
            break
        except TooFarError:  # its log was cut off meanwhile
            for one in copies:
                one.copy_again_if_lost()
        except NotFoundError:
            for one in copies:
                one.refuse_deleted()
            raise
    for one in copies:
        one.settle()


def _aliases(source: Session, target: Session, copies: Mapping[str, object]) -> dict[str, str]:
    """Aliases of QdrantClient's that lead to what is copied, by the ids of their collections;
    AlreadyExistsError for one that the target can't have."""
    if source.on_cluster or target.on_cluster:
        return {}
    here, there = cast(EmbeddedStore, source.store), cast(EmbeddedStore, target.store)
    wanted = {alias: here.resolved(alias).id for alias in here.aliases()}
    wanted = {alias: one for alias, one in wanted.items() if one in copies}
    taken = there.aliases()
    for alias in wanted:
        if alias not in taken and _is_name(there, alias):
            raise AlreadyExistsError(
                f"alias {alias!r} is the name of a collection {target.place}; a copy replaces "
                "nothing"
            )
    return {alias: one for alias, one in wanted.items() if alias not in taken}


def _is_name(store: CollectionStore, name: str) -> bool:
    try:
        store.named(name)
    except NotFoundError:
        return False
    return True


def _give_aliases(target: Session, aliases: Mapping[str, str]) -> None:
    if aliases:
        store = cast(EmbeddedStore, target.store)
        given = {alias: store.record(one).name for alias, one in aliases.items()}
        store.change_aliases(lambda there: {**given, **there})
