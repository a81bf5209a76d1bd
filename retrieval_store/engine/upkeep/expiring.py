"""Deleting what has expired. Nothing depends on when: every call leaves it out anyway."""

from functools import partial

from retrieval_store.base.tracing import log_of
from retrieval_store.engine.access import Access
from retrieval_store.engine.filtering.expiry import expired
from retrieval_store.engine.filtering.selecting import select
from retrieval_store.engine.storage import write as storage
from retrieval_store.engine.storage.log import Write
from retrieval_store.filters.nodes import Expression

AT_ONCE = 10_000  # points that a transaction deletes, for which writers wait
_log = log_of("maintenance")


def remove_expired(points: Access) -> int:
    """Delete the points that have expired; returns how many."""
    path = points.expires
    if path is None or points.is_read_only:
        return 0
    gone = points.read(partial(expired, path=path))  # up to now: others may expire all the time
    if gone is None:
        return 0
    removed = count = points.write(partial(_remove_some, points, gone))
    while count == AT_ONCE:
        count = points.write(partial(_remove_some, points, gone))
        removed += count
    _log.info("deleted %d points of collection %r that had expired", removed, points.name)
    return removed


def _remove_some(points: Access, gone: Expression, write: Write) -> int:
    cached = points.memory.before(write.connection, write.head)
    view = points.view(write.connection, cached)
    rows = select(view, None, gone, AT_ONCE)
    storage.delete(write, view.state.pks[rows])
    return len(rows)
