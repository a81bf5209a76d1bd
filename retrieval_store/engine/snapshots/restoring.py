"""Restoring snapshots: all of one is checked before anything of it takes its place."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import apsw

from retrieval_store.base.system import sync_directory
from retrieval_store.engine.database.failures import translated
from retrieval_store.engine.database.opening import create
from retrieval_store.engine.nearest.indexing import FindClass
from retrieval_store.engine.snapshots.package import Manifest, unpack
from retrieval_store.engine.storage.catalog import CATALOG, Entries
from retrieval_store.engine.storage.files import CATALOG_NAME, POINTS_NAME, private_folder
from retrieval_store.engine.upkeep.verify import no_analyzer, verify_collection
from retrieval_store.errors import DamagedError, InvalidArgumentError


@contextmanager
def unpacked(
    snapshot: Path, beside: Path, find_class: FindClass
) -> Iterator[tuple[Path, Manifest]]:
    """A private folder in the directory `beside`, with a snapshot's collections, whole and durable;
    what isn't taken away from there goes afterwards."""
    with translated(beside), private_folder(beside) as folder, translated(folder):
        manifest = unpack(snapshot, folder)
        for record in manifest.collections:
            _refuse_damaged(folder / record.id, record.name, snapshot, find_class)
            sync_directory(folder / record.id)
        sync_directory(folder)
        yield folder, manifest


def _refuse_damaged(directory: Path, name: str, snapshot: Path, find_class: FindClass) -> None:
    files = set(os.listdir(directory))
    reports = verify_collection(directory, name, "relaxed", find_class, no_analyzer)
    for report in reports:
        if report.problem:
            raise DamagedError(f"{snapshot} holds what is damaged: {report.problem}")
    if not reports:
        raise DamagedError(f"{snapshot} holds a collection that is deleted")
    used = {POINTS_NAME, *(report.file.name for report in reports)}
    if files - used:
        raise DamagedError(f"{snapshot} holds files of no use: {sorted(files - used)[:4]}")
    for left in set(os.listdir(directory)) - files:  # of opening it
        (directory / left).unlink()


def restore_store(snapshot: Path, path: Path, find_class: FindClass) -> None:
    """Make a store of a snapshot, in a directory that is empty or isn't there; InvalidArgumentError
    for another."""
    if os.path.lexists(path) and not (path.is_dir() and not os.listdir(path)):
        raise _in_the_way(path)
    with unpacked(snapshot, path.parent, find_class) as (folder, manifest):
        create(folder / CATALOG_NAME, CATALOG, partial(_fill, folder=folder, manifest=manifest))
        try:
            folder.rename(path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise _in_the_way(path) from None
            raise
        sync_directory(path.parent)


def _in_the_way(path: Path) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{path} is there already; name a directory that is empty, or that isn't there yet"
    )


def _fill(connection: apsw.Connection, folder: Path, manifest: Manifest) -> None:
    entries = Entries(connection, folder / CATALOG_NAME)
    for record in manifest.collections:
        entries.insert(record)
    entries.set_aliases(manifest.aliases)
