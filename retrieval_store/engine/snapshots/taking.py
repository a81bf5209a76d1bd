"""Taking snapshots: copies of collections beside the snapshot to be, and then the snapshot."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from retrieval_store.engine.access import Access
from retrieval_store.engine.database.failures import translated
from retrieval_store.engine.snapshots.copies import copy_collection
from retrieval_store.engine.snapshots.package import Manifest, pack
from retrieval_store.engine.storage.files import private_folder
from retrieval_store.errors import InvalidArgumentError, NotFoundError
from retrieval_store.query.types import CollectionRecord


def take(
    target: Path,
    records: Sequence[CollectionRecord],
    aliases: Mapping[str, str],
    points_of: Callable[[str], Access],
    whole: bool,
) -> None:
    """Write a snapshot of these collections. Of a whole store, those that are deleted meanwhile are
    left out; there is no writing to several collections at once, so each is in a state of its
    own."""
    if os.path.lexists(target):
        raise InvalidArgumentError(f"{target} is there already; a snapshot replaces nothing")
    with translated(target):
        if not target.parent.is_dir():
            raise InvalidArgumentError(f"there is no directory {target.parent}")
        with private_folder(target.parent) as folder:
            copied = []
            for record in records:
                with suppress(*([NotFoundError] if whole else [])):
                    copy_collection(points_of(record.id), folder / record.id)
                    copied.append(record)
            names = {record.name for record in copied}
            kept = {alias: name for alias, name in aliases.items() if name in names}
            pack(folder, Manifest(whole, tuple(copied), kept), target)
