"""The change log: which points writes have updated or deleted, and, as users see it, what is
otherwise than at an earlier position. Each operation of a write ends with an entry in it."""

from collections.abc import Sequence

import apsw
import numpy as np

from retrieval_store.base.arrays import Ints, distinct
from retrieval_store.base.dataclasses import dataclass, replace
from retrieval_store.engine.database.transactions import select
from retrieval_store.engine.storage.schema import EVERY_PART, Head, read_head, to_id, write_head
from retrieval_store.engine.storage.vectors import OpenVectors
from retrieval_store.query.types import Changed, PointId, Position

LOG_WRITES = 4096  # the change log keeps at most so many writes,
LOG_PKS = 1_000_000  # and about so many pks
TRIM_EVERY = 256  # writes


@dataclass(slots=True)
class Write:
    """A write transaction that has begun. head: the collection's head as the transaction's last
    operation has left it; open_vectors: opens the vectors of a space in a generation."""

    connection: apsw.Connection
    head: Head
    open_vectors: OpenVectors


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


def finish(write: Write, changed: Ints, parts: int, inserted: int) -> None:
    """End an operation: write the change log and the head, by which readers notice the write.
    changed: pks; parts: bits of what changed of them; inserted: how many points were inserted."""
    connection, head = write.connection, write.head
    seq, floor = head.seq + 1, head.log_floor
    if len(changed):
        blob = np.sort(changed).astype("<i8").tobytes()
        connection.execute("INSERT INTO changes VALUES (?, ?, ?)", (seq, blob, parts))
    if seq % TRIM_EVERY == 0 or len(changed) > LOG_PKS // 8:
        floor = max(floor, _untrimmed(connection, seq))
        connection.execute("DELETE FROM changes WHERE seq <= ?", (floor,))
    write.head = replace(head, seq=seq, next_pk=head.next_pk + inserted, log_floor=floor)
    write_head(connection, write.head)


def _untrimmed(connection: apsw.Connection, seq: int) -> int:
    """The `seq` up to which the change log is cut off."""
    query = "SELECT seq, length(pks) / 8 FROM changes WHERE seq > ? ORDER BY seq DESC"
    held = 0
    for at, pks in select(connection, query, seq - LOG_WRITES):
        held += pks
        if held > LOG_PKS:
            return int(at)
    return max(0, seq - LOG_WRITES)
