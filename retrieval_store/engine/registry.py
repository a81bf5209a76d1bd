"""The stores open in this process: one for each directory, shared by all clients in it.

A directory is known by device and inode, so that two paths to it lead to one store.
"""

import os
import sys
import threading
import weakref
from pathlib import Path
from typing import TypeAlias

from retrieval_store.base.system import sync_directory
from retrieval_store.base.tracing import log_of
from retrieval_store.engine.concurrency import call_outside, reset_after_fork
from retrieval_store.engine.database.failures import translated
from retrieval_store.engine.nearest.indexing import FindClass, built_in
from retrieval_store.engine.storage.filesystems import warn_of_network
from retrieval_store.engine.store import Store
from retrieval_store.errors import ConflictError, StorageError
from retrieval_store.query.types import Mode

_log = log_of("store")
_Key: TypeAlias = tuple[int, int, bool, bool]  # device, inode, read-only, without derived files


class Share:
    """A client's share in a store. One that is lost, and never released, counts no longer."""

    def __init__(self, store: Store) -> None:
        self.store = store


class _Shared:
    """A store, and the shares in it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.shares: weakref.WeakSet[Share] = weakref.WeakSet()

    def share(self) -> Share:
        """One more."""
        share = Share(self.store)
        self.shares.add(share)
        return share


class _Open:
    """The stores, and a lock for them. The lock is reentrant: a client that is collected while a
    thread holds it gives its store back there."""

    def __init__(self) -> None:
        self.stores: dict[_Key, _Shared] = {}
        self.lock = threading.RLock()
        reset_after_fork(self)

    def forget_after_fork(self) -> None:
        """In a child: no thread holds the lock."""
        self.lock = threading.RLock()


_open = _Open()


def acquire(
    path: Path, mode: Mode, find_class: FindClass = built_in, uses_derived: bool = True
) -> Share:
    """A share in the store at the path, made if there is none; give it back with `release`."""
    refuse_without_posix()
    share, opened = _acquired(path, mode, find_class, uses_derived)
    # Without the lock: a client that is collected while a handler writes wants it.
    if opened:
        _log.debug("opened the store in %s, %s", path, mode)
        if share.store.is_new:
            _log.info("made a store in %s", path)
    return share


def _acquired(
    path: Path, mode: Mode, find_class: FindClass, uses_derived: bool
) -> tuple[Share, bool]:
    """A share, and whether the store was opened for it."""
    opened = False
    with translated(path), _open.lock:
        if mode != "read-only":
            _make_directory(path)
        key = _key(path, mode, uses_derived)
        shared = _open.stores.get(key)
        # At once: whatever follows may collect the last client that holds it.
        share = None if shared is None else shared.share()
        if share is None or not share.store.is_in_place():  # another directory has got that number
            warn_of_network(path)
            shared = _Shared(Store(path, mode, find_class, uses_derived))
            share = shared.share()
            _open.stores[key], opened = shared, True
        if share.store.mode != mode:
            raise ConflictError(
                f"{path} is open in this process with durability={share.store.mode!r}, not {mode!r}"
            )
        return share, opened


def refuse_without_posix() -> None:
    """Raise StorageError where there are no locks and maps of files as stores on disk need them."""
    if sys.platform == "win32":
        raise StorageError("stores on disk work on Linux and macOS so far; use one in memory")


def release(share: Share) -> None:
    """Give a share back; the last one to be given back closes the store."""
    with _open.lock:
        for key, shared in list(_open.stores.items()):
            if shared.store is share.store:
                shared.shares.discard(share)
                if shared.shares:
                    return
                del _open.stores[key]
    # A client may be collected while the thread of the upkeep is at work in its store.
    call_outside(share.store.close)


def _key(path: Path, mode: Mode, uses_derived: bool) -> _Key:
    status = os.stat(path)
    return status.st_dev, status.st_ino, mode == "read-only", not uses_derived


def _make_directory(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise StorageError(f"{path} is not a directory")
    missing = [p for p in (path, *path.parents) if not p.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for created in missing:
        sync_directory(created.parent)
