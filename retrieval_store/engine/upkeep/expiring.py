"""Deleting what has expired. Nothing depends on when: every call leaves it out anyway."""

from functools import partial

from retrieval_store.base.logs import log_of
from retrieval_store.engine.access import Access
from retrieval_store.engine.filtering.expiry import expired
from retrieval_store.engine.filtering.selecting import select
from retrieval_store.engine.storage import write as storage
from retrieval_store.engine.storage.log import Write
from retrieval_store.filters.paths import Steps

AT_ONCE = 10_000  # points that a transaction deletes, for which writers wait
_log = log_of("maintenance")


def remove_expired(points: Access) -> int:
    """Delete the points that have expired; returns how many."""
    path, removed = points.expires, 0
    if path is None or points.is_read_only:
        return 0
    while points.read(partial(expired, path=path)) is not None:
        removed += points.write(partial(_remove_some, points, path))
    if removed:
        _log.info("deleted %d points of collection %r that had expired", removed, points.name)
    return removed


def _remove_some(points: Access, path: Steps, write: Write) -> int:
    cached = points.memory.before(write.connection, write.head)
    view = points.view(write.connection, cached)
    gone = expired(view, path)
    if gone is None:  # another process was faster
        return 0
    rows = select(view, None, gone, AT_ONCE)
    storage.delete(write, view.state.pks[rows])
    return len(rows)
