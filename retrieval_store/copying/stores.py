"""Copying collections from one store to another: which, whether it can be, in which order.

What is done twice does no harm, and the journal notes what is done, so that a copy that was broken
off goes on, and one that was finished is brought level.
"""

from collections.abc import Callable, Sequence

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.copying import journal as journals
from retrieval_store.copying.collection import SpacesOf
from retrieval_store.copying.following import follow
from retrieval_store.copying.mirror import Mirror
from retrieval_store.copying.telling import Tell, telling
from retrieval_store.errors import InvalidArgumentError, ReadOnlyError
from retrieval_store.places import Session


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied of one collection. points: how many the copy holds; followed: how many were
    copied again since they had been written meanwhile; compared: how many were looked at in both
    and found alike; level: whether nothing was left to copy, since it had been copied before."""

    name: str
    points: int
    followed: int
    compared: int
    level: bool = False


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
    spaces of a collection that doesn't tell them; if_exists: whether to raise for a collection that
    has been copied before, rather than to bring it level; on_change: told what is renamed, deleted
    and copied besides."""

    following: Following | None
    shown: bool
    spaces_of: SpacesOf
    if_exists: bool = False
    on_change: Tell | None = None


def copy_store(
    source: Session, target: Session, names: Sequence[str] | None, ways: Ways
) -> list[Copied]:
    """Copy collections, all if `names` is None, into another store, where these names must be free
    or belong to earlier copies; then compare both. An interrupted copy is resumed where it
    stopped."""
    _refuse_impossible(source, target, ways)
    folders = [one.store.directory for one in (target, source) if not one.read_only]
    with journals.opened(folders, (source.place, target.place)) as journal:
        mirror = Mirror(
            source, target, names, journal, telling(ways.on_change), ways.shown, ways.spaces_of
        )
        mirror.refuse_taken(ways.following is None, ways.if_exists)
        _level(mirror, ways.following)
        found = [Copied(one.name, *told, one.is_level) for one, told in mirror.compared()]
        mirror.finish()
        return found


def _level(mirror: Mirror, following: Following | None) -> None:
    """Copy all, and go on as long as is wanted."""
    mirror.level(goes_on=following is not None)
    if following is not None:
        follow(
            lambda: mirror.level(goes_on=True),
            following.quiet,
            following.goes_on,
            following.on_level,
        )


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
        raise InvalidArgumentError(
            f"following isn't supported {source.place}, which keeps no such log"
        )
