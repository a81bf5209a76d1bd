"""The change log: the points that writes have updated or deleted, and the existing pks.

Each operation of a write ends with an entry in the log. Users read the changes since an earlier
position from the log (`changes_since`). Caches read which parts of a point were changed, so that
columns stay valid if a write hasn't changed their keys.

The existing pks are stored as bitmaps in points.sqlite, one for each 8,192 pks. Reading the
existing pks of a million points from the bitmaps takes a millisecond; a scan of the table of points
would read all documents. pks are never reused, so the bitmap of a chunk whose points are all
deleted is removed permanently.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from zlib import crc32

import apsw
import numpy as np

from retrieval_store.base.arrays import Bools, Ints, distinct
from retrieval_store.engine.sqlite import ContradictionError, select
from retrieval_store.engine.storage.schema import (
    EVERY_PART,
    CollectionHead,
    read_head,
    to_ids,
    write_head,
)
from retrieval_store.engine.storage.vector_files import OpenVectors
from retrieval_store.query.types import ChangedPoints, PointId, Position

LOG_WRITES = 4096  # the change log keeps at most this many writes,
LOG_PKS = 1_000_000  # and about this many pks
TRIM_EVERY = 256  # writes between two truncations of the log; fewer if writes change many points
# Keys that are recorded for a write; if there are more, any key may have changed.
MAX_KEYS, KEY = 64, np.dtype("<u4")


@dataclass(slots=True)
class WriteTransaction:
    """A write transaction that has begun. head: the collection's head after the transaction's last
    operation. open_vectors: a function that opens the vectors of a space in a generation."""

    connection: apsw.Connection
    head: CollectionHead
    open_vectors: OpenVectors


@dataclass(frozen=True, slots=True)
class LoggedWrite:
    """The points that one write has updated or deleted. pks: the pks of these points. parts: bits
    that stand for their changed parts. keys: the numbers of the first keys of changed payload
    values, None if any key may have changed."""

    pks: Ints
    parts: int
    keys: frozenset[int] | None


@dataclass(frozen=True, slots=True)
class LoggedChanges:
    """The points that writes have updated or deleted."""

    writes: list[LoggedWrite]

    def of(self, parts: int | None = None, keys: frozenset[int] | None = None) -> Ints:
        """The pks of the points in which any of these parts has changed (None: any part),
        ascending, without repetitions. keys: only writes that may have changed one of these payload
        keys count; None for all writes."""
        return _join_lists(
            write.pks
            for write in self.writes
            if (parts is None or write.parts & parts)
            and (keys is None or write.keys is None or not keys.isdisjoint(write.keys))
        )

    def by_keys(self, parts: int) -> dict[frozenset[int] | None, Ints]:
        """Like `of`, but by key set: for each set of keys that a write has changed together, the
        pks of the changed points. The key None stands for writes that may have changed any key."""
        groups: dict[frozenset[int] | None, list[Ints]] = {}
        for write in self.writes:
            if write.parts & parts:
                groups.setdefault(write.keys, []).append(write.pks)
        return {keys: _join_lists(lists) for keys, lists in groups.items()}


def _join_lists(lists: Iterable[Ints]) -> Ints:
    all_lists = [*lists]
    if len(all_lists) > 1:
        return distinct(np.concatenate(all_lists))
    return all_lists[0] if all_lists else np.empty(0, np.int64)


def read_changes(connection: apsw.Connection, after: int) -> LoggedChanges:
    """The points that writes later than the write `after` have updated or deleted."""
    # All columns, in their order: formats before 4 and 7, which can be read without migration, lack
    # the last columns.
    rows = select(connection, "SELECT * FROM changes WHERE seq > ?", after)
    return LoggedChanges([_decode_write(*columns) for _, *columns in rows])


def _decode_write(pks: bytes, parts: int = EVERY_PART, keys: bytes | None = None) -> LoggedWrite:
    if keys is not None and len(keys) % KEY.itemsize:
        raise ContradictionError(f"the change log has keys of {len(keys)} bytes")
    numbers = None if keys is None else frozenset(np.frombuffer(keys, KEY).tolist())
    return LoggedWrite(np.frombuffer(pks, np.int64), parts, numbers)


def key_number(name: str) -> int:
    """The number of a payload key in the change log. Two keys can have the same number. A change of
    one of them then also makes the columns of the other stale."""
    return crc32(name.encode(errors="surrogatepass"))


def position(head: CollectionHead) -> Position:
    """The current position of the log."""
    return Position(head.seq, head.next_pk)


def changes_since(connection: apsw.Connection, since: Position) -> ChangedPoints:
    """The points inserted or changed since a position, sorted by pk. So new points come last, in
    the order of their insertion."""
    head = read_head(connection)
    current = position(head)
    begun_anew = current.operation < since.operation or current.inserted < since.inserted
    if begun_anew or head.log_floor > since.operation:
        return ChangedPoints(current, None)
    changed_pks = read_changes(connection, since.operation).of()
    updated = _ids(connection, "pk IN carray(?)", changed_pks[changed_pks < since.inserted])
    inserted = _ids(connection, "pk >= ?", since.inserted)
    return ChangedPoints(current, [*updated, *inserted], len(inserted))


def _ids(connection: apsw.Connection, condition: str, value: object) -> Sequence[PointId]:
    if isinstance(value, np.ndarray):
        if not len(value):
            return []
        value = apsw.carray(np.ascontiguousarray(value))
    rows = select(connection, f"SELECT id FROM points WHERE {condition} ORDER BY pk", value)
    return to_ids(key for (key,) in rows)


def finish(
    write: WriteTransaction,
    changed: Ints,
    parts: int,
    inserted: int,
    keys: Collection[str] | None = None,
) -> None:
    """End an operation: write the change log and the head, from which readers notice the write.
    changed: the pks of changed points. parts: bits that stand for their changed parts. inserted:
    how many points were inserted. keys: the first keys of payload values that may have changed,
    None for any key."""
    connection, head = write.connection, write.head
    seq, floor = head.seq + 1, head.log_floor
    if len(changed):
        blob = np.sort(changed).astype("<i8").tobytes()
        numbers = None
        if keys is not None and len(keys) <= MAX_KEYS:
            numbers = np.array(sorted(map(key_number, keys)), KEY).tobytes()
        record = seq, blob, parts, numbers
        connection.execute("INSERT INTO changes VALUES (?, ?, ?, ?)", record)
    if seq % min(TRIM_EVERY, LOG_PKS // 8 // max(1, len(changed)) + 1) == 0:
        floor = max(floor, _seq_of_trim(connection, seq))
        connection.execute("DELETE FROM changes WHERE seq <= ?", (floor,))
    next_pk = head.next_pk + inserted
    write.head = CollectionHead(seq, next_pk, head.generation, floor, head.dropped)
    write_head(connection, write.head)


def _seq_of_trim(connection: apsw.Connection, seq: int) -> int:
    """The `seq` up to which entries of the change log are removed."""
    query = "SELECT seq, length(pks) / 8 FROM changes WHERE seq > ? ORDER BY seq DESC"
    total = 0
    for logged_seq, pks in select(connection, query, seq - LOG_WRITES):
        total += pks
        if total > LOG_PKS:
            return int(logged_seq)
    return max(0, seq - LOG_WRITES)


CHUNK = 8192


def present_pks(connection: apsw.Connection, first: int, stop: int) -> Ints:
    """The existing pks in the range first … stop-1, ascending."""
    query = "SELECT chunk, bitmap FROM presence WHERE chunk BETWEEN ? AND ? ORDER BY chunk"
    chunks = select(connection, query, first // CHUNK, stop // CHUNK)
    parts = [np.flatnonzero(_bits(bitmap)) + chunk * CHUNK for chunk, bitmap in chunks]
    pks = np.concatenate([np.empty(0, np.int64), *parts])
    return pks[(pks >= first) & (pks < stop)]


def count_present(connection: apsw.Connection) -> int:
    """The number of existing pks."""
    return _count_bits(bitmap for (bitmap,) in select(connection, "SELECT bitmap FROM presence"))


def count_unless_dropped(connection: apsw.Connection) -> int | None:
    """The number of existing pks, found by one statement. None if there are no pks or the
    collection is deleted."""
    records = select(connection, "SELECT bitmap, (SELECT dropped FROM head) FROM presence")
    if not records or records[0][1]:
        return None
    return _count_bits(bitmap for bitmap, _ in records)


def _count_bits(bitmaps: Iterable[bytes]) -> int:
    return sum(int(np.count_nonzero(_bits(bitmap))) for bitmap in bitmaps)


def are_present(connection: apsw.Connection, pks: Ints) -> Bools:
    """Whether each of these pks exists: (n,) bool. The pks must ascend."""
    parts = [
        _read_bits(connection, chunk)[chunk_pks % CHUNK] for chunk, chunk_pks in _by_chunk(pks)
    ]
    return np.concatenate([np.empty(0, np.bool_), *parts])


def set_present(connection: apsw.Connection, pks: Ints, present: bool) -> None:
    """Record whether these pks exist from now on. The pks must ascend."""
    for chunk, chunk_pks in _by_chunk(pks):
        bits = _read_bits(connection, chunk)
        bits[chunk_pks % CHUNK] = present
        if present or bits.any():
            record = (chunk, np.packbits(bits).tobytes())
            connection.execute("INSERT OR REPLACE INTO presence VALUES (?, ?)", record)
        else:
            connection.execute("DELETE FROM presence WHERE chunk = ?", (chunk,))


def _by_chunk(pks: Ints) -> Iterator[tuple[int, Ints]]:
    """Yield the chunks that contain these pks, each with its pks."""
    if len(pks):
        ends: list[int] = []
        if pks[0] // CHUNK != pks[-1] // CHUNK:
            ends = (np.flatnonzero(np.diff(pks // CHUNK)) + 1).tolist()
        for start, stop in pairwise([0, *ends, len(pks)]):
            yield int(pks[start]) // CHUNK, pks[start:stop]


def _read_bits(connection: apsw.Connection, chunk: int) -> Bools:
    """Whether each pk of a chunk exists: (CHUNK,) bool."""
    rows = select(connection, "SELECT bitmap FROM presence WHERE chunk = ?", chunk)
    return _bits(rows[0][0]) if rows else np.zeros(CHUNK, np.bool_)


def _bits(bitmap: bytes) -> Bools:
    if len(bitmap) != CHUNK // 8:
        raise ContradictionError(
            f"a bitmap of points has {len(bitmap)} bytes instead of {CHUNK // 8}"
        )
    return np.unpackbits(np.frombuffer(bitmap, np.uint8)).view(np.bool_)
