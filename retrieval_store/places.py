"""The places where collections live, and a client's share in one of them.

There are two: the engine in this process, on disk or in memory, and a Qdrant cluster. Neither knows
of the other; what they have in common is `interface.stores`, and only here is one of them chosen.
"""

import os
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_store.base.logs import log_of
from retrieval_store.engine import registry
from retrieval_store.engine.state.budget import BUDGET
from retrieval_store.engine.storage.files import CATALOG_NAME
from retrieval_store.engine.store import Store
from retrieval_store.errors import (
    ClientClosedError,
    InvalidArgumentError,
    MissingDependencyError,
    NotFoundError,
)
from retrieval_store.interface.records import CollectionRecord, Mode, Progress

if TYPE_CHECKING:
    from retrieval_store.interface.stores import CollectionStore, EmbeddedStore, PointsBackend

_log = log_of("store")


class Session:
    """A client's share in a store; when it is closed, or collected, `release` is called."""

    def __init__(
        self,
        store: "CollectionStore",
        release: Callable[[], object],
        place: str,
        read_only: bool = False,
    ) -> None:
        self._store = store
        self.read_only = read_only
        self._finalizer = weakref.finalize(self, release)
        self.place = place

    @property
    def store(self) -> "CollectionStore":
        """The store; raises ClientClosedError after `close`."""
        if not self._finalizer.alive:
            raise ClientClosedError(f"the client of the store {self.place} has been closed")
        return self._store

    @property
    def on_cluster(self) -> bool:
        """Whether the store is a cluster; `store.embedded` is what other stores can do besides."""
        return self._store.embedded is None

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return not self._finalizer.alive

    @property
    def budget(self) -> dict[str, int]:
        """What the stores of this process may hold in memory, and hold; nothing of a cluster."""
        return {} if self.on_cluster else BUDGET.told

    def close(self) -> None:
        """Give the store back; a second call does nothing."""
        self._finalizer()


def embedded_store(session: Session) -> "EmbeddedStore":
    """The store of a client, if it is one of this process; InvalidArgumentError for a cluster."""
    store = session.store.embedded
    if store is None:
        raise InvalidArgumentError(f"the store {session.place} makes snapshots of its own")
    return store


def restore(snapshot: Path, path: Path, name: str | None) -> None:
    """Make a store of a snapshot, or add the collection of one to the store at `path`, by the name
    that it had or another."""
    registry.refuse_without_posix()
    if not (path / CATALOG_NAME).exists():
        if name is not None:
            raise InvalidArgumentError(f"there is no store at {path} to add {name!r} to")
        from retrieval_store.engine.snapshots.restoring import restore_store

        restore_store(snapshot, path, _find_index)
        _log.info("made the store in %s of the snapshot %s", path, snapshot)
        return
    session = embedded(path, "full", rebuild=False)
    try:
        embedded_store(session).restore(snapshot, name)
    finally:
        session.close()


def set_memory_budget(limit: int) -> None:
    """Let the stores of this process keep so many bytes of what can be worked out again."""
    BUDGET.limit = limit


def in_memory(mode: Mode) -> Session:
    """A new store in memory."""
    share = registry.Share(Store(None, mode, _find_index))
    return Session(share.store, partial(registry.release, share), "in memory")


def embedded(path: Path, mode: Mode, rebuild: bool, create: bool = True) -> Session:
    """A share in the store of a directory, made if there is none; NotFoundError where it may not
    be, since it is only to be read or `create` is False. rebuild: without the derived files that
    are there, which are forgotten; where nothing can be written, they aren't used."""
    registry.refuse_without_posix()
    if mode == "read-only" or not create:
        _refuse_missing(path, mode)
    ignored = rebuild and mode == "read-only"
    share = registry.acquire(path, mode, _find_index, uses_derived=not ignored)
    session = Session(
        share.store,
        partial(registry.release, share),
        f"at {path}",
        read_only=mode == "read-only",
    )
    if rebuild and not ignored:
        try:
            share.store.forget_derived()
        except BaseException:
            session.close()
            raise
    return session


def _refuse_missing(path: Path, mode: Mode) -> None:
    try:
        os.stat(path / CATALOG_NAME)
    except PermissionError:
        return  # whether there is one isn't known; opening it says so
    except OSError:
        how = "without read_only=True" if mode == "read-only" else "with create=True"
        raise NotFoundError(f"there is no store at {path}; {how} one is made there") from None


def remote(
    url: str | None,
    qdrant_client: Any,
    consistency: Any,
    creates_indexes: bool,
    options: dict[str, Any],
) -> Session:
    """A cluster: the one at a URL, or that of a client which stays the caller's to close. The rest
    is as `Client` takes it."""
    try:
        from retrieval_store.remote.calls.cluster import Cluster
        from retrieval_store.remote.space import Options
        from retrieval_store.remote.store import RemoteStore
    except ImportError as error:
        raise MissingDependencyError(
            'a cluster needs qdrant-client: pip install "retrieval-store[qdrant]"'
        ) from error
    how = Options(consistency, creates_indexes)
    if url is None:
        cluster = Cluster(qdrant_client, "behind qdrant_client")
        return Session(RemoteStore(cluster, how), _leave_open, cluster.place)
    cluster = Cluster.at(url, options)
    return Session(RemoteStore(cluster, how), cluster.close, cluster.place)


def _find_index(name: str) -> Any:
    """The class of an index; see `plugins.find_index`. Plugins are loaded with the first index."""
    from retrieval_store.plugins import find_index

    return find_index(name)


def _leave_open() -> None:
    """What is done to a client that isn't ours."""


class StoredCollection:
    """A `Backend`: a collection in a store, by its id."""

    def __init__(self, session: Session, collection_id: str) -> None:
        self._session = session
        self._id = collection_id

    @property
    def id(self) -> str:
        return self._id

    @property
    def on_cluster(self) -> bool:
        return self._session.on_cluster

    @property
    def points(self) -> "PointsBackend":
        return self._session.store.points(self._id)

    def record(self) -> CollectionRecord:
        return self._session.store.record(self._id)

    def change(self, edit: Callable[[CollectionRecord], CollectionRecord]) -> CollectionRecord:
        return self._session.store.change(self._id, edit)

    def optimize(self, progress: Progress) -> None:
        self._session.store.optimize(self._id, progress)

    def snapshot(self, target: Path) -> None:
        embedded_store(self._session).snapshot(target, self._id)

    def fork(self, name: str) -> "StoredCollection":
        return StoredCollection(self._session, self._here("fork").fork(self._id, name).id)

    def copied(self) -> "AbstractContextManager[PointsBackend]":
        return self._here("iterate").copied(self._id)

    def _here(self, asked: str) -> "EmbeddedStore":
        """The store that holds it, if it is one of this process."""
        store = self._session.store.embedded
        if store is None:
            place = self._session.place
            raise InvalidArgumentError(f"{asked}() isn't supported on a cluster, as {place}")
        return store
