"""The change log as others read it: what is otherwise than at an earlier position."""

from collections.abc import Sequence

import apsw
import numpy as np

from retrieval_store.engine.database.transactions import select
from retrieval_store.engine.storage.schema import Head, read_changes, read_head, to_id
from retrieval_store.interface.points import Changed, PointId, Position


def position(head: Head) -> Position:
    """How far the log has come."""
    return Position(head.seq, head.next_pk)


def changed_since(connection: apsw.Connection, since: Position) -> Changed:
    """What was inserted or changed since the log had come so far, in the order of pks, so that new
    points come last and in the order of their insertion."""
    head = read_head(connection)
    now = position(head)
    begun_anew = now.operation < since.operation or now.inserted < since.inserted
    if begun_anew or head.log_floor > since.operation:
        return Changed(now, None)
    known = read_changes(connection, since.operation).of()
    updated = _ids(connection, "pk IN carray(?)", known[known < since.inserted])
    inserted = _ids(connection, "pk >= ?", since.inserted)
    return Changed(now, [*updated, *inserted], len(inserted))


def _ids(connection: apsw.Connection, condition: str, value: object) -> Sequence[PointId]:
    if isinstance(value, np.ndarray):
        if not len(value):
            return []
        value = apsw.carray(np.ascontiguousarray(value))
    found = select(connection, f"SELECT id FROM points WHERE {condition} ORDER BY pk", value)
    return [to_id(key) for (key,) in found]
