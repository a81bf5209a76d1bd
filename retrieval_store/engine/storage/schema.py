"""The tables of points.sqlite, and how values are encoded in them.

Arrays are stored as blobs, one for each write or each block of rows. Only the points themselves
have a database row each. The tables:

head      the state of the collection; `seq` counts its operations, and `next_space` numbers its
          vector spaces: files and caches use these numbers, so no number is used twice
spaces    the collection's vector spaces; the first `slots` rows of each vector file are valid
points    pk → id, payload (JSON), document, uri, and the last operation that changed the point
presence  which pks exist: a bitmap for each 8,192 pks; chunks without existing pks have no bitmap
blocks    for each block of rows of a vector file: their checksum, and the pk that owns each row.
          A point's vector is the last row it owns; if its pk is inverted there (~pk), the
          point has lost its vector
changes   pks updated or deleted by each write, and which parts of these points, for readers that
          update their state; keys: the first keys of payload values that it changed, by the
          checksums of their names, since names may be deleted; null for any key.
          `head.log_floor` is the last write that may be missing here
blobs     vectors of spaces that aren't dense: sparse vectors, and several dense vectors of a point
derived   files that can be rebuilt from the other data: the key of each, the last write that it
          includes, its size and checksum
unsynced  the last rows of a vector file, from `slot` on, until the file is synced
"""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from weakref import WeakSet

import apsw
import numpy as np
import orjson

from retrieval_store.base.arrays import DATATYPES, METRICS, Datatype, Metric
from retrieval_store.base.validation import Payload, shows_an_integer
from retrieval_store.engine.sqlite import ContradictionError, Format, select
from retrieval_store.errors import InvalidArgumentError, NotFoundError
from retrieval_store.query.types import (
    KINDS,
    NewSpace,
    PointId,
    ShownIds,
    VectorKind,
)


@dataclass(frozen=True, slots=True)
class Space:
    """A named vector space. dimension: None until the first write sets it. index: the name of the
    space's index, and those index settings that aren't the defaults. datatype: the type of the
    numbers in its vectors."""

    number: int
    name: str
    metric: Metric
    dimension: int | None
    slots: int
    index: Payload = field(default_factory=dict, compare=False)
    kind: VectorKind = "dense"
    datatype: Datatype = "float32"

    @property
    def row_bytes(self) -> int:
        """The size of one vector in bytes; 0 until the first write sets the dimension."""
        return np.dtype(self.datatype).itemsize * (self.dimension or 0)


_SINCE_2 = """
    ALTER TABLE spaces ADD COLUMN indexing BLOB NOT NULL DEFAULT '{}';
    ALTER TABLE spaces ADD COLUMN kind TEXT NOT NULL DEFAULT 'dense';
    CREATE TABLE blobs (
        pk INTEGER NOT NULL,
        space INTEGER NOT NULL,
        content BLOB NOT NULL,
        PRIMARY KEY (pk, space)
    ) WITHOUT ROWID;
    CREATE TABLE derived (
        key TEXT PRIMARY KEY,
        file TEXT NOT NULL,
        seq INTEGER NOT NULL,
        size INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        covered INTEGER NOT NULL
    );
"""
_SINCE_3 = "ALTER TABLE spaces ADD COLUMN datatype TEXT NOT NULL DEFAULT 'float32';"
# Parts of points that a write may change, and deletion, as bits of a number. Changed vectors in
# spaces that aren't dense are recorded. Changed vectors in dense spaces are found by their slots,
# unless they are lost.
PAYLOAD, DOCUMENT, NON_DENSE, GONE, LOST = 1, 2, 4, 8, 16
# All bits except LOST; formats that don't record parts couldn't write lost vectors.
EVERY_PART = PAYLOAD | DOCUMENT | NON_DENSE | GONE
_SINCE_4 = f"ALTER TABLE changes ADD COLUMN parts INTEGER NOT NULL DEFAULT {EVERY_PART};"
# The files of lists of sparse vectors are now named after the numbers of spaces, no longer after
# their names.
_SINCE_5 = """
    ALTER TABLE points ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE head ADD COLUMN next_space INTEGER NOT NULL DEFAULT 0;
    UPDATE head SET next_space = (SELECT coalesce(max(number), 0) + 1 FROM spaces);
    CREATE INDEX blobs_of_space ON blobs (space);
    DELETE FROM derived WHERE key GLOB 'sparse.*';
"""
_SINCE_6 = """
    CREATE TABLE unsynced (
        number INTEGER PRIMARY KEY,
        space INTEGER NOT NULL,
        slot INTEGER NOT NULL,
        rows BLOB NOT NULL
    );
"""
_SINCE_7 = "ALTER TABLE changes ADD COLUMN keys BLOB;"
POINTS = Format(
    application_id=0x52537074,  # "RSpt"
    version=7,
    main_table="head",
    migrations={1: _SINCE_2, 2: _SINCE_3, 3: _SINCE_4, 4: _SINCE_5, 5: _SINCE_6, 6: _SINCE_7},
    schema="""
        CREATE TABLE head (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            seq INTEGER NOT NULL,
            next_pk INTEGER NOT NULL,
            generation INTEGER NOT NULL,
            log_floor INTEGER NOT NULL,
            dropped INTEGER NOT NULL
        );
        INSERT INTO head VALUES (1, 0, 0, 0, 0, 0);
        CREATE TABLE spaces (
            number INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            metric TEXT NOT NULL,
            dimension INTEGER,
            slots INTEGER NOT NULL
        );
        CREATE TABLE points (
            pk INTEGER PRIMARY KEY,
            id NOT NULL UNIQUE,
            payload BLOB,
            document TEXT,
            uri TEXT
        );
        CREATE TABLE presence (chunk INTEGER PRIMARY KEY, bitmap BLOB NOT NULL);
        CREATE TABLE blocks (
            space INTEGER NOT NULL,
            generation INTEGER NOT NULL,
            block INTEGER NOT NULL,
            checksum INTEGER NOT NULL,
            owners BLOB NOT NULL,
            PRIMARY KEY (space, generation, block)
        );
        CREATE TABLE changes (seq INTEGER PRIMARY KEY, pks BLOB NOT NULL);
    """,
    readable=2,
)
MAX_DIMENSION = 2**24
_ID_OFFSET = 2**63
_MOST = 2**62  # limit on counters, so that they can still be increased
MAX_ID = 2**64 - 1


@dataclass(frozen=True, slots=True)
class CollectionHead:
    """The state of a collection according to points.sqlite."""

    seq: int
    next_pk: int
    generation: int
    log_floor: int
    dropped: bool


def read_head(connection: apsw.Connection) -> CollectionHead:
    """The head in the transaction of `connection`. If this is the transaction's first read, it
    starts the snapshot."""
    (head,) = select(connection, "SELECT seq, next_pk, generation, log_floor, dropped FROM head")
    if not all(type(number) is int and number <= _MOST for number in head):
        raise ContradictionError(f"{head!r} is no head of a collection")
    seq, next_pk, generation, log_floor, dropped = head
    return CollectionHead(seq, next_pk, generation, log_floor, bool(dropped))


def write_head(connection: apsw.Connection, head: CollectionHead) -> None:
    """Replace the head."""
    connection.execute(
        "UPDATE head SET seq = ?, next_pk = ?, generation = ?, log_floor = ?, dropped = ?",
        (head.seq, head.next_pk, head.generation, head.log_floor, int(head.dropped)),
    )


# Connections to databases that are known to have versions. A format is never downgraded, and
# finding out takes as long as reading ten points.
_WITH_VERSIONS: "WeakSet[apsw.Connection]" = WeakSet()


def has_versions(connection: apsw.Connection) -> bool:
    """Whether points have versions. In files of formats before 5, which can be read without
    migration, points have no versions."""
    if connection in _WITH_VERSIONS:
        return True
    if connection.pragma("user_version") < 5:
        return False
    _WITH_VERSIONS.add(connection)
    return True


def has_unsynced(connection: apsw.Connection) -> bool:
    """Whether there is a table `unsynced`, which may contain rows of vector files. Formats before 6
    have no such table."""
    return bool(connection.pragma("user_version") >= 6)


def space_by_name(connection: apsw.Connection, name: str) -> Space:
    """The vector space with this name. Raises NotFoundError if there is no such space."""
    spaces = read_spaces(connection)
    if name not in spaces:
        raise NotFoundError(f"there is no vector space {name!r}; there are {[*spaces]}")
    return spaces[name]


def read_spaces(connection: apsw.Connection) -> dict[str, Space]:
    """The vector spaces by name."""
    # All columns, in their order; format 2, which can be read without migration, lacks the last
    # column.
    rows = select(connection, "SELECT * FROM spaces ORDER BY number")
    spaces = {
        name: Space(number, name, metric, dimension, slots, _settings(indexing), *kind_and_datatype)
        for number, name, metric, dimension, slots, indexing, *kind_and_datatype in rows
    }
    for space in spaces.values():
        dimension = 1 if space.dimension is None else space.dimension
        is_known = space.metric in METRICS and isinstance(space.name, str) and space.kind in KINDS
        is_known = is_known and space.datatype in _datatypes_of(space.kind)
        if not (is_known and space.slots >= 0 and 0 < dimension <= MAX_DIMENSION):
            raise ContradictionError(f"there is no such vector space: {space}")
    return spaces


def numbers_of_spaces(connection: apsw.Connection) -> set[int]:
    """The numbers of the vector spaces."""
    return {number for (number,) in select(connection, "SELECT number FROM spaces")}


def insert_space(connection: apsw.Connection, name: str, space: NewSpace) -> None:
    """Add an empty vector space. Raises InvalidArgumentError if its kind doesn't support the
    datatype, or if the dimension is out of range."""
    if space.dimension is not None and not 0 < space.dimension <= MAX_DIMENSION:
        raise InvalidArgumentError(
            f"vector space {name!r} has dimension {space.dimension}; expected one from 1 to "
            f"{MAX_DIMENSION:,}"
        )
    if space.datatype not in _datatypes_of(space.kind):
        raise InvalidArgumentError(
            f"vector space {name!r} is {space.kind}, with datatype {space.datatype!r}; expected "
            f"one of {_datatypes_of(space.kind)}"
        )
    connection.execute(
        "INSERT INTO spaces (number, name, metric, dimension, slots, indexing, kind, datatype) "
        "SELECT next_space, ?, ?, ?, 0, ?, ?, ? FROM head",
        (
            name,
            space.metric,
            space.dimension,
            orjson.dumps(space.index),
            space.kind,
            space.datatype,
        ),
    )
    connection.execute("UPDATE head SET next_space = next_space + 1")


def delete_space(connection: apsw.Connection, number: int) -> None:
    """Delete a vector space with all vectors in it from the database. The next maintenance removes
    its files."""
    connection.execute("DELETE FROM spaces WHERE number = ?", (number,))
    for table in ("blocks", "blobs", "unsynced"):
        connection.execute(f"DELETE FROM {table} WHERE space = ?", (number,))


def dropped_spaces(connection: apsw.Connection) -> Callable[[int], bool]:
    """A function that takes a number, and returns whether a vector space with this number was
    deleted. Raises ContradictionError if the head doesn't have a valid next number for spaces."""
    ((next_space,),) = select(connection, "SELECT next_space FROM head")
    if not isinstance(next_space, int):
        raise ContradictionError(f"the next vector space can't have the number {next_space!r}")
    present_numbers = numbers_of_spaces(connection)
    return lambda number: 0 < number < next_space and number not in present_numbers


def _datatypes_of(kind: VectorKind) -> tuple[Datatype, ...]:
    return DATATYPES[:1] if kind == "sparse" else DATATYPES


def set_index(connection: apsw.Connection, name: str, index: Payload) -> None:
    """Change the index settings of a vector space."""
    query = "UPDATE spaces SET indexing = ? WHERE name = ?"
    connection.execute(query, (orjson.dumps(index), name))


def _settings(blob: bytes | str) -> Payload:
    settings = orjson.loads(blob)
    if not isinstance(settings, dict):
        raise ContradictionError(f"{settings!r} are no settings of an index")
    return settings


def to_key(point_id: PointId) -> str | int:
    """An id as it is stored: text, or an integer moved from 0 … 2^64-1 into SQLite's signed range,
    so that the order is kept."""
    return point_id if isinstance(point_id, str) else point_id - _ID_OFFSET


def to_ids(keys: Iterable[str | int]) -> list[PointId]:
    """The ids for which these keys are stored; the inverse of `to_key`."""
    return [key if isinstance(key, str) else key + _ID_OFFSET for key in keys]


def pks_of_ids(connection: apsw.Connection, ids: Sequence[PointId]) -> dict[PointId, int]:
    """The pks of the existing ids, by id. Ids that don't exist are left out."""
    if isinstance(ids, ShownIds):
        texts = _pks_of_texts(connection, ids)
        return {**texts, **pks_of_shown_integers(connection, ids, texts)}
    strings = [point_id for point_id in ids if isinstance(point_id, str)]
    numbers = [point_id for point_id in ids if not isinstance(point_id, str)]
    return {**_pks_of_texts(connection, strings), **_pks_of_numbers(connection, numbers)}


def pks_of_shown_integers(
    connection: apsw.Connection, ids: ShownIds, texts: Container[PointId] = ()
) -> dict[PointId, int]:
    """The pks of points with integer ids, by the id as a string. ids: the strings to look up; those
    in `texts`, and those that aren't integers, are skipped."""
    digits = [text for text in ids if text not in texts and shows_an_integer(text)]
    if not digits or not _has_integers(connection):
        return {}
    pks_by_number = _pks_of_numbers(connection, [int(text) for text in digits])
    return {str(number): pk for number, pk in pks_by_number.items()}


def _has_integers(connection: apsw.Connection) -> bool:
    """Whether any point has an integer id. (In SQLite's order, integers come before all
    strings.)"""
    return bool(select(connection, "SELECT 1 FROM points WHERE id < '' LIMIT 1"))


def _pks_of_texts(connection: apsw.Connection, texts: Sequence[str]) -> dict[PointId, int]:
    if not texts:
        return {}
    # As bytes, because strings in an array parameter end at U+0000. No id contains lone surrogates.
    named = tuple(text.encode(errors="surrogatepass") for text in texts)
    query = """SELECT id, pk FROM points WHERE id IN
               (SELECT CAST(value AS TEXT) FROM carray(?))"""
    return dict(select(connection, query, apsw.carray(named)))


def _pks_of_numbers(connection: apsw.Connection, numbers: Sequence[int]) -> dict[PointId, int]:
    keys = [number - _ID_OFFSET for number in numbers if 0 <= number <= MAX_ID]
    if not keys:
        return {}
    query = "SELECT id, pk FROM points WHERE id IN carray(?)"
    rows = select(connection, query, apsw.carray(np.array(keys, np.int64)))
    return {key + _ID_OFFSET: pk for key, pk in rows}
