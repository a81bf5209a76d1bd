"""Opens stores, and gives each client a session: a share in a store.

The engine runs in this process, on disk or in memory. Plugins open remote stores: those that
`retrieval-store serve` serves, and Qdrant clusters. The kinds of stores don't know each other;
their common interface is `query.protocols`, and only this module chooses one. It also has the
functions for the engine's files that the APIs need: the folder of snapshots, private folders, and
the conversion of the system's errors.
"""

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_store.base.platform import refuse_untried
from retrieval_store.base.tracing import log_of
from retrieval_store.base.validation import check_new_file, is_unicode, quote, refuse_credentials
from retrieval_store.engine import store
from retrieval_store.engine.sqlite import translate_errors
from retrieval_store.engine.state.caches import CACHE_BUDGET
from retrieval_store.engine.storage.files import (
    CATALOG_NAME,
    IN_STORE,
    SNAPSHOTS,
    private_folder,
)
from retrieval_store.engine.store import Store
from retrieval_store.errors import (
    ClientClosedError,
    InvalidArgumentError,
    InvalidTypeError,
    NotFoundError,
)
from retrieval_store.query.types import CollectionRecord, Mode, Progress, UnknownKeys

if TYPE_CHECKING:
    from retrieval_store.query.protocols import (
        CollectionStore,
        EmbeddedStore,
        PointsBackend,
    )

__all__ = [
    "IN_STORE",
    "SNAPSHOTS",
    "Session",
    "StoredCollection",
    "cluster_at",
    "cluster_of",
    "embedded_store",
    "in_memory",
    "open_path",
    "open_remote",
    "private_folder",
    "restore",
    "session_of",
    "set_memory_budget",
    "snapshot",
    "translate_errors",
]

_log = log_of("store")


class Session:
    """A client's share in a store, which other clients may use too. store: the store, or a function
    that returns the store when it is first needed; closed: whether `close` was called;
    unknown_keys: see `Client`. The share is released when the session is closed or
    garbage-collected."""

    unknown_keys: UnknownKeys = "warn"

    def __init__(
        self,
        store: "CollectionStore | Callable[[], CollectionStore]",
        release: Callable[[], object],
        place: str,
        read_only: bool = False,
    ) -> None:
        self._store = store
        self.read_only, self.closed = read_only, False
        self._finalizer = weakref.finalize(self, release)
        self._finalizer.atexit = False  # when it may still be used; `engine.store` closes its files
        self.place = place

    @property
    def store(self) -> "CollectionStore":
        """The store; raises ClientClosedError after `close`."""
        if not self._finalizer.alive:
            raise ClientClosedError(f"the client of the store {self.place} has been closed")
        return self._store() if callable(self._store) else self._store

    @property
    def on_cluster(self) -> bool:
        """Whether the store is a cluster."""
        return self.store.engine is None

    def close(self) -> None:
        """Release the share in the store; a second call does nothing."""
        self.closed = True
        self._finalizer()


def session_of(client: Any) -> Session | None:
    """The session of a `Client` or a `QdrantClient` on a store; None for any other object. The
    client, not the caller, closes the session."""
    for holder in (client, getattr(client, "_client", None)):
        session = getattr(holder, "_session", None)
        if isinstance(session, Session):
            return session
    return None


def embedded_store(session: Session) -> "EmbeddedStore":
    """The store of a session, if it is in this process; otherwise raises InvalidArgumentError."""
    store = session.store.embedded
    if store is None:
        raise InvalidArgumentError(f"the store {session.place} isn't one of this process")
    return store


def snapshot(session: Session, target: Path, collection_id: str | None = None) -> None:
    """Write a snapshot of a collection, or of the whole store, to a new file. A remote store, such
    as a cluster, is first copied to a folder next to the file, by the plugin for copies. Raises
    InvalidArgumentError if the path exists, or if its directory does not exist."""
    store = session.store.engine
    if store is not None:
        store.snapshot(target, collection_id)
        return
    from retrieval_store import plugins

    copy_store = plugins.load(plugins.COPIERS, "store")
    check_new_file(target)
    name = None if collection_id is None else session.store.record(collection_id).name
    with translate_errors(target), private_folder(target.parent) as folder:
        # What a power cut leaves of it is of no use anyway; the snapshot itself is made durable.
        copy = open_path(folder, "relaxed", rebuild=False)
        try:
            copy_store(session, copy, None if name is None else [name])
            copied = embedded_store(copy)
            copied.snapshot(target, None if name is None else copied.by_name(name).id)
        finally:
            copy.close()


def restore(snapshot: Path, path: Path, name: str | None) -> None:
    """Create a store from a snapshot. If there is a store at `path`, the collection of the snapshot
    is added to it, under the name `name` or its old name."""
    refuse_untried()
    _refuse_odd_bytes(path)
    if not (path / CATALOG_NAME).exists():
        if name is not None:
            raise InvalidArgumentError(f"there is no store at {path} to add {name!r} to")
        from retrieval_store.engine.snapshots import restore_store

        restore_store(snapshot, path, _find_index)
        _log.info("made the store in %s of the snapshot %s", path, snapshot)
        return
    session = open_path(path, "full", rebuild=False)
    try:
        embedded_store(session).restore(snapshot, name)
    finally:
        session.close()


def _refuse_odd_bytes(path: Path) -> None:
    """Raise InvalidArgumentError for the path of a store that is not UTF-8."""
    if not is_unicode(os.path.realpath(path)):
        raise InvalidArgumentError(
            f"path is {str(path)!r}, whose bytes aren't valid UTF-8, as SQLite wants those of a "
            "store: rename the directory, or name another"
        )


def set_memory_budget(limit: int) -> None:
    """Limit the bytes that the caches of all stores of this process can use."""
    CACHE_BUDGET.limit = limit


def in_memory(mode: Mode) -> Session:
    """The session of a new store in memory."""
    share = store.Share(Store(None, mode, _find_index))
    return Session(share.store, partial(store.release, share), "in memory")


def open_path(path: Path, mode: Mode, rebuild: bool, create: bool = True) -> Session:
    """The session of the store in a directory. A missing store is created if `create`, otherwise
    NotFoundError is raised. rebuild: whether to delete the derived files; in a read-only store they
    are ignored instead."""
    refuse_untried()
    if mode != "read-only":  # reading such a path works, SQLite can't write there
        _refuse_odd_bytes(path)
    _refuse_dangling(path)
    if mode == "read-only" or not create:
        _refuse_missing(path, mode)
    ignored = rebuild and mode == "read-only"
    share = store.acquire(path, mode, _find_index, uses_derived=not ignored)
    session = Session(
        share.store,
        partial(store.release, share),
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


def _refuse_dangling(path: Path) -> None:
    """Raise NotFoundError if the path contains a link to a missing file, where no directory can be
    created."""
    if os.path.exists(path):
        return
    for place in (path, *path.parents):
        if os.path.islink(place) and not os.path.exists(place):
            raise NotFoundError(
                f"there is no store at {path}: {place} is a link to {os.readlink(place)!r}, which "
                "isn't there; make that directory, or remove the link"
            )


def _refuse_missing(path: Path, mode: Mode) -> None:
    try:
        os.stat(path / CATALOG_NAME)
    except PermissionError:
        return  # whether there is one isn't known; opening it says so
    except OSError:
        how = "without read_only=True" if mode == "read-only" else "with create=True"
        raise NotFoundError(f"there is no store at {path}; {how} one is made there") from None


def open_remote(
    url: Any, consistency: Any, creates_indexes: bool, options: Mapping[str, Any]
) -> Session:
    """The session of the store at a URL, opened by the package that is registered for such URLs.
    Several URLs are the nodes of a cluster. options: further arguments of the client that the
    package uses; for the other arguments see `Client`."""
    from retrieval_store import plugins

    if isinstance(url, list | tuple):
        if not url:
            raise InvalidArgumentError("url has no address, expected one or more")
        if len(url) > 1:
            return cluster_at(url, consistency, creates_indexes, options)
        (url,) = url
    if not (isinstance(url, str) and url):
        raise InvalidTypeError(f"url is {quote(url)}, expected the URL of a store, or several")
    refuse_credentials(url)
    scheme, mark, _ = url.partition("://")
    scheme = scheme.lower()
    if not mark or scheme == "qdrant-client" or not plugins.is_known(plugins.STORES, scheme):
        schemes = [f"{name}://…" for name in plugins.names(plugins.STORES) if "qdrant" not in name]
        raise InvalidArgumentError(
            f"url is {quote(url)}, expected http://… or https://… of a server or a cluster, or "
            f"what an installed package opens: {', '.join(schemes) or 'there is none'}"
        )
    if scheme in ("http", "https") and not plugins.is_installed(plugins.STORES, scheme):
        # Without the client of a server it can only be a cluster's, if that can be opened.
        scheme = "qdrant" if plugins.is_installed(plugins.STORES, "qdrant") else scheme
    return _by_plugin(scheme, url, consistency, creates_indexes, options)


def cluster_at(
    url: str | Sequence[str],
    consistency: Any,
    creates_indexes: bool,
    options: Mapping[str, Any],
) -> Session:
    """The session of the Qdrant cluster at one or more URLs. The arguments are those of
    `open_remote`."""
    for one in [url] if isinstance(url, str) else url:
        if isinstance(one, str):
            refuse_credentials(one)
    return _by_plugin("qdrant", url, consistency, creates_indexes, options)


def cluster_of(qdrant_client: Any, consistency: Any, creates_indexes: bool) -> Session:
    """The session of a cluster, through a client that belongs to the caller."""
    return _by_plugin("qdrant-client", qdrant_client, consistency, creates_indexes)


def _by_plugin(name: str, *arguments: Any) -> Session:
    """The session of a store outside this process, opened by the plugin of this name."""
    from retrieval_store import plugins

    session: Session = plugins.load(plugins.STORES, name)(*arguments)
    return session


def _find_index(name: str) -> Any:
    """The class of an index; see `plugins.find_index`. The module of plugins is loaded when the
    first index is needed."""
    from retrieval_store.plugins import find_index

    return find_index(name)


class StoredCollection:
    """A collection of a store, identified by its id. It gives access to its record in the catalog
    and to its points."""

    def __init__(self, session: Session, collection_id: str) -> None:
        self.session = session
        self._id = collection_id

    @property
    def id(self) -> str:
        """The id, which stays the same when the name changes."""
        return self._id

    @property
    def on_cluster(self) -> bool:
        """Whether the collection is on a cluster, where `change` is not a transaction."""
        return self.session.on_cluster

    @property
    def points(self) -> "PointsBackend":
        """The points; raises NotFoundError if the collection was deleted, ClientClosedError if the
        session is closed."""
        return self.session.store.points(self._id)

    def record(self) -> CollectionRecord:
        """The current name and settings; raises NotFoundError if the collection was deleted."""
        return self.session.store.record(self._id)

    def change(self, edit: Callable[[CollectionRecord], CollectionRecord]) -> CollectionRecord:
        """Replace the name and settings by those that `edit` returns. This is one transaction,
        except on a cluster."""
        return self.session.store.change(self._id, edit)

    def optimize(self, progress: Progress) -> None:
        """Compact the collection, so that its files contain no deleted data."""
        self.session.store.optimize(self._id, progress)

    def snapshot(self, target: Path) -> None:
        """Write a snapshot to a new file."""
        snapshot(self.session, target, self._id)

    def fork(self, name: str) -> "StoredCollection":
        """Copy the collection under another name; returns the copy."""
        return StoredCollection(self.session, self.session.store.fork(self._id, name).id)

    def open_copy(self) -> "AbstractContextManager[PointsBackend]":
        """A context manager that yields a temporary copy of the current points, and deletes the
        copy at the end. On a cluster it yields the points themselves, which others may change or
        delete."""
        return self.session.store.open_copy(self._id)
