"""Copies of collections: one state of each, without what is dead, has expired, or can be made
again."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import apsw

from retrieval_store.engine.access import Access, StoreHooks
from retrieval_store.engine.database.failures import translated
from retrieval_store.engine.database.opening import begun_copy
from retrieval_store.engine.database.transactions import select
from retrieval_store.engine.nearest.context import SearchView
from retrieval_store.engine.storage import derived
from retrieval_store.engine.storage.files import LOCK_NAME, POINTS_NAME, private_folder
from retrieval_store.engine.upkeep.compaction import compact, give_back_space, remove_leftovers
from retrieval_store.engine.upkeep.expiring import remove_expired
from retrieval_store.errors import ClientClosedError

_CLOSE = partial(ClientClosedError, "the copy is finished")


def copy_collection(points: Access, directory: Path) -> None:
    """Make, in a directory that doesn't exist, the files of a collection as of one moment. Others
    may write meanwhile: what counts in a file of vectors never changes, and the rest is copied in
    one transaction."""
    directory.mkdir()
    if points.read(partial(_copy, directory=directory)) or points.expires is not None:
        _reduce(directory, points.hooks)


@contextmanager
def private_copy(points: Access, beside: Path | None) -> Iterator[Path]:
    """The directory of a copy that is this call's own, in `beside` or among the system's
    temporary files; what isn't taken away from there goes afterwards."""
    with private_folder(beside) as folder:
        copy_collection(points, folder / "copy")
        yield folder / "copy"


def _copy(view: SearchView, directory: Path) -> bool:
    """Copy the files of a collection; returns whether there is anything in them to let go of."""
    for left in directory.iterdir():  # by an attempt during which a file went away
        left.unlink()
    with translated(directory):
        _copy_database(view.connection, directory / POINTS_NAME)
        for space in view.state.spaces.values():
            rows = space.vectors.rows(space.space.slots)
            space.vectors.admit(rows, space.checksums, None)
            rows.tofile(directory / f"{space.space.number}.{view.state.head.generation}.vectors")
    query = "SELECT 1 FROM derived UNION ALL SELECT 1 FROM blocks WHERE generation <> ? LIMIT 1"
    has_more = bool(select(view.connection, query, view.state.head.generation))
    has_free = view.connection.pragma("freelist_count") > 0
    return has_more or has_free or any(space.dead for space in view.state.spaces.values())


def _copy_database(source: apsw.Connection, path: Path) -> None:
    with begun_copy(path) as target, target.backup("main", source, "main") as backup:
        while not backup.done:
            backup.step(-1)


def _reduce(directory: Path, hooks: StoreHooks) -> None:
    """Let go of what is dead, or has expired, in a copy that is this call's own."""
    own = StoreHooks(uses_derived=False, expires=hooks.expires, find_damage=hooks.find_damage)
    points = Access.open(directory, directory.name, "relaxed", own)
    try:
        points.write(lambda write: derived.forget_all(write.connection))
        remove_expired(points)
        state = points.cached().state
        remove_leftovers(points, state.head.generation)  # of a compaction under way, or cut short
        if any(space.dead for space in state.spaces.values()):
            compact(points, _without_a_word, with_indexes=False)
        give_back_space(points)
    finally:
        points.close(_CLOSE)
    for name in (LOCK_NAME, f"{POINTS_NAME}-wal", f"{POINTS_NAME}-shm"):
        (directory / name).unlink(missing_ok=True)


def _without_a_word(done: int, total: int) -> None:
    """No caller waits to be told."""
