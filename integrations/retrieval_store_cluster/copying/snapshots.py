"""Writes a snapshot of a cluster: a copy in a directory of its own, packed into one file."""

from pathlib import Path

from retrieval_store.backends import (
    Session,
    embedded_store,
    open_path,
    private_folder,
    translate_errors,
)
from retrieval_store.base.validation import check_new_file
from retrieval_store_cluster.copying.stores import copy_store


def snapshot_cluster(source: Session, target: Path, collection_id: str | None) -> None:
    """Write a snapshot of a collection, or of all if None, to a new file: each as `copy_store`
    copies it. Meanwhile there is a copy beside the file. InvalidArgumentError for a path that
    exists, or where no directory is."""
    check_new_file(target)
    name = None if collection_id is None else source.store.record(collection_id).name
    with translate_errors(target), private_folder(target.parent) as folder:
        # What a power cut leaves of it is of no use anyway; the snapshot itself is made durable.
        copy = open_path(folder, "relaxed", rebuild=False)
        try:
            names = None if name is None else [name]
            copy_store(source, copy, names)
            store = embedded_store(copy)
            store.snapshot(target, None if name is None else store.by_name(name).id)
        finally:
            copy.close()
