"""Copies collections from one store to another: selects the collections, and checks whether they
can be copied. For a snapshot of a cluster, the core copies the cluster in this way, and packs the
copy into one file.

Steps are idempotent, and the journal records each finished step. So an interrupted copy resumes,
and a repeated copy copies only later changes of the source. Collections of other programs in the
target are never changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from retrieval_store.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    ReadOnlyError,
)
from retrieval_store.extension import CollectionRecord, Copied, Session
from retrieval_store_cluster.copying.collection import CollectionCopy
from retrieval_store_cluster.copying.journal import open_journal

if TYPE_CHECKING:
    from retrieval_store_cluster.store import ClusterStore


def copy_store(
    source: Session,
    target: Session,
    names: Sequence[str] | None,
    *,
    fail_if_exists: bool = False,
    show_progress: bool = False,
) -> list[Copied]:
    """Copy collections into another store, all collections if `names` is None, and compare each
    copy with its source. In the target, the names must be free or belong to earlier copies. An
    interrupted copy resumes. The other arguments are those of `Client.copy_to`."""
    _refuse_impossible(source, target)
    folders = [session.store.directory for session in (target, source) if not session.read_only]
    places = source.place, target.place
    leading = _leads_to(source), _leads_to(target)
    with open_journal(folders, places, _keeper_in(target), leading) as journal:
        records = _records(source, names)
        journal.look_up([record.id for record in records])
        copies = [
            CollectionCopy(source, target, record, journal, show_progress) for record in records
        ]
        for copy in copies:  # before anything is copied
            with _report_deletions(copy, target):
                copy.refuse(fail_if_exists)
        aliases = _aliases_of(source, target, copies)
        for copy in copies:
            with _report_deletions(copy, target):
                copy.copy()
        _add_aliases(target, aliases)
        copied = [_compare_copy(copy, target) for copy in copies]
        journal.finish([copy.id for copy in copies if copy.alike is None])
        return copied


def _leads_to(session: Session) -> str:
    """A value that distinguishes a store behind a caller's client from other stores at the same
    address."""
    keeper = _keeper_in(session)
    return "" if keeper is None else keeper.cluster.leads_to


def _keeper_in(target: Session) -> "ClusterStore | None":
    """The store of the target, if it is a cluster; otherwise None."""
    if not target.on_cluster:
        return None
    from retrieval_store_cluster.store import ClusterStore

    return target.store if isinstance(target.store, ClusterStore) else None


def _refuse_impossible(source: Session, target: Session) -> None:
    """Raise InvalidArgumentError if a store would be copied into itself, and ReadOnlyError if the
    target is read-only."""
    if target.read_only:
        raise ReadOnlyError(f"the store {target.place} is open read-only; nothing is copied there")
    directory = source.store.directory
    same = directory is not None and directory == target.store.directory
    if same or source.store is target.store:
        raise InvalidArgumentError(f"both are one store, {source.place}: there is nothing to copy")


def _records(source: Session, names: Sequence[str] | None) -> list[CollectionRecord]:
    """The collections to copy, in the order of their names."""
    if names is None:
        return source.store.page(None, 0)
    return [source.store.by_name(name) for name in sorted(set(names))]


@contextmanager
def _report_deletions(copy: CollectionCopy, target: Session) -> Iterator[None]:
    """A context manager that converts the error for a deleted collection to an error that says
    whether the source or the target was deleted during the copy."""
    try:
        yield
    except NotFoundError as error:
        where = target.place
        if not copy.is_gone:
            raise NotFoundError(
                f"the copy of collection {copy.name!r} {where} was deleted while it was made"
            ) from error
        raise NotFoundError(
            f"collection {copy.name!r} was deleted while it was copied; the incomplete copy "
            f"{where} stays"
        ) from error


def _compare_copy(copy: CollectionCopy, target: Session) -> Copied:
    with _report_deletions(copy, target):
        points, changed, compared = copy.compare()
        return Copied(copy.name, points, changed, compared, copy.is_level, copy.meanwhile)


def _aliases_of(
    source: Session, target: Session, copies: Sequence[CollectionCopy]
) -> Mapping[str, str]:
    """The aliases of the copied collections that exist in the source and are missing in the target,
    each with the name of its collection. Empty if one of the stores is a cluster. Raises
    AlreadyExistsError if a collection of the target has the name of such an alias."""
    source_engine, target_engine = source.store.engine, target.store.engine
    if source_engine is None or target_engine is None:
        return {}
    names, taken = {copy.name for copy in copies}, target_engine.aliases()
    aliases = {
        a: name for a, name in source_engine.aliases().items() if name in names and a not in taken
    }
    collections = {record.name for record in target_engine.page(None, 0)} if aliases else set()
    for alias in aliases:
        if alias in collections:
            raise AlreadyExistsError(
                f"alias {alias!r} is the name of a collection {target.place}; a copy replaces "
                "nothing"
            )
    return aliases


def _add_aliases(target: Session, aliases: Mapping[str, str]) -> None:
    """Create aliases in the target, except aliases that another program has created meanwhile."""
    store = target.store.engine
    if store is not None and aliases:
        store.change_aliases(lambda there: {**aliases, **there})
