"""The change log: which points writes have updated or deleted, and, as users see it, what is
otherwise than at an earlier position."""

from collections.abc import Sequence

import apsw
import numpy as np

from retrieval_store.base.arrays import Ints, distinct
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.engine.database.transactions import select
from retrieval_store.engine.storage.schema import EVERY_PART, Head, read_head, to_id
from retrieval_store.interface.points import Changed, PointId, Position


@dataclass(frozen=True, slots=True)
class LoggedChanges:
    """What writes have updated or deleted: for each its points' pks, and which parts of them."""

    writes: list[tuple[Ints, int]]

    def of(self, parts: int | None = None) -> Ints:
        """The pks of points of which any of these parts was changed, or anything at all; each once,
        ascending."""
        wanted = [pks for pks, held in self.writes if parts is None or held & parts]
        if len(wanted) > 1:
            return distinct(np.concatenate(wanted))
        return wanted[0] if wanted else np.empty(0, np.int64)


def read_changes(connection: apsw.Connection, after: int) -> LoggedChanges:
    """What writes after `after` have updated or deleted."""
    # All columns, in their order: versions before 4, which may be read as they are, lack the last.
    rows = select(connection, "SELECT * FROM changes WHERE seq > ?", after)
    return LoggedChanges(
        [(np.frombuffer(pks, np.int64), *(parts or [EVERY_PART])) for _, pks, *parts in rows]
    )


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
