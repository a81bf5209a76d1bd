"""The stores open in this process: one for each directory, shared by all clients in it.

A directory is known by device and inode, so that two paths to it lead to one store.
"""

import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from retrieval_store.engine import upkeep
from retrieval_store.engine.database import Mode, sync_directory, translated
from retrieval_store.engine.filesystems import warn_of_network
from retrieval_store.engine.forking import aware
from retrieval_store.engine.indexing import FindClass, built_in
from retrieval_store.engine.store import Store
from retrieval_store.errors import ConflictError, StorageError


@dataclass(slots=True)
class _Shared:
    """A store and how many hold it."""

    store: Store
    users: int


class _Open:
    """The stores, and a lock for them. The lock is reentrant: a client that is collected while a
    thread holds it gives its store back there."""

    def __init__(self) -> None:
        self.stores: dict[tuple[int, int, bool], _Shared] = {}
        self.lock = threading.RLock()
        aware(self)

    def forget_after_fork(self) -> None:
        """In a child: no thread holds the lock."""
        self.lock = threading.RLock()


_open = _Open()


def acquire(path: Path, mode: Mode, find_class: FindClass = built_in) -> Store:
    """The store at the path, made if there is none; give it back with `release`."""
    if sys.platform == "win32":
        raise StorageError("stores on disk work on Linux and macOS so far; use one in memory")
    with translated(path), _open.lock:
        if mode != "read-only":
            _make_directory(path)
        key = _key(path, mode)
        shared = _open.stores.get(key)
        if shared is not None:
            shared.users += 1  # at once: whatever follows may collect the last client that holds it
            if not shared.store.is_in_place():  # another directory has got that number
                shared.users -= 1
                shared = None
        if shared is None:
            warn_of_network(path)
            shared = _open.stores[key] = _Shared(Store(path, mode, find_class), 1)
        if shared.store.mode != mode:
            shared.users -= 1
            raise ConflictError(
                f"{path} is open in this process with durability={shared.store.mode!r}, "
                f"not {mode!r}"
            )
        return shared.store


def release(store: Store) -> None:
    """Give a store back; the last one to do so closes it."""
    with _open.lock:
        for key, shared in list(_open.stores.items()):
            if shared.store is store:
                shared.users -= 1
                if shared.users:
                    return
                del _open.stores[key]
    # A client may be collected while the upkeep thread is at work in its store.
    upkeep.outside(store.close)


def _key(path: Path, mode: Mode) -> tuple[int, int, bool]:
    status = os.stat(path)
    return status.st_dev, status.st_ino, mode == "read-only"


def _make_directory(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise StorageError(f"{path} is not a directory")
    missing = [p for p in (path, *path.parents) if not p.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for created in missing:
        sync_directory(created.parent)
