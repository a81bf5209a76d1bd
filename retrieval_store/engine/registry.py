"""The stores open in this process: one for each directory, shared by all clients in it.

A directory is known by device and inode, so that two paths to it lead to one store.
"""

import os
import sys
import threading
from pathlib import Path

from retrieval_store.engine.database import Durability, sync_directory, translated
from retrieval_store.engine.store import Store
from retrieval_store.errors import ConflictError, StorageError

# Reentrant: a client that is collected while a thread holds it gives its store back there.
_lock = threading.RLock()
_stores: dict[tuple[int, int], tuple[Store, int]] = {}


def acquire(path: Path, durability: Durability) -> Store:
    """The store at the path, made if there is none; give it back with `release`."""
    if sys.platform == "win32":
        raise StorageError("stores on disk work on Linux and macOS so far; use one in memory")
    with translated(path):
        _make_directory(path)
        key = _key(path)
        with _lock:
            store, users = _stores.get(key, (None, 0))
            if store is None:
                store = Store(path, durability)
            elif store.durability != durability:
                raise ConflictError(
                    f"{path} is open in this process with durability={store.durability!r}, "
                    f"not {durability!r}"
                )
            _stores[key] = (store, users + 1)
            return store


def release(store: Store) -> None:
    """Give a store back; the last one to do so closes it."""
    with _lock:
        for key, (held, users) in list(_stores.items()):
            if held is store:
                if users > 1:
                    _stores[key] = (store, users - 1)
                    return
                del _stores[key]
    store.close()


def _key(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _make_directory(path: Path) -> None:
    missing = [p for p in (path, *path.parents) if not p.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for created in missing:
        sync_directory(created.parent)
