"""The in-memory state of a collection as of one `seq` (the number of a write), its updates from the
database, and the `View` of the state that a call gets.

A *row* is a point's position in this state: the position of its pk in `pks`. pks can have gaps,
because they are never reused; row numbers are consecutive. Readers never change a state. `advance`
builds the next state from a state and the changes in the database. Successive states share memory
(see `arrays.append`), so each state has only one successor, built under one lock.

A view reads points (`fetch`) by pk, in bulk, and only the fields that the call needs.
"""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate, compress, repeat
from typing import Any, Generic, TypeAlias, TypeVar

import apsw
import numpy as np
import numpy.typing as npt

from retrieval_store.base import budget
from retrieval_store.base.arrays import (
    NOTHING,
    NOWHERE,
    Bools,
    CowArray,
    Ints,
    Matrix,
    append,
    as_float32,
    distinct,
    is_whole,
)
from retrieval_store.base.validation import shows_an_integer
from retrieval_store.engine.sqlite import ContradictionError, select
from retrieval_store.engine.storage.derived import DerivedFiles
from retrieval_store.engine.storage.log import (
    LoggedChanges,
    are_present,
    present_pks,
    read_changes,
)
from retrieval_store.engine.storage.records import decode_payloads, read_many, read_records
from retrieval_store.engine.storage.schema import (
    DOCUMENT,
    GONE,
    LOST,
    NON_DENSE,
    PAYLOAD,
    CollectionHead,
    Space,
    has_versions,
    numbers_of_spaces,
    read_spaces,
    to_ids,
    to_key,
)
from retrieval_store.engine.storage.vector_files import (
    Checksums,
    OpenVectors,
    VectorRows,
    owners_of,
    rows_per_block,
)
from retrieval_store.errors import DamagedError, InvalidArgumentError
from retrieval_store.indexes.native import address
from retrieval_store.query.types import (
    Fields,
    PointId,
    Points,
    ShownIds,
    VectorsRead,
)

NONE = -1
Kept_co = TypeVar("Kept_co", covariant=True)
TOLERATED_DEAD_ROWS = 10_000
FILE_KIND = "state"  # the kind of derived files that contain a state (`mapped_files`)
STATES_WORTH = 200_000  # points; the state of fewer is read from the database in 15 ms


@dataclass(frozen=True, slots=True)
class MappedFile:
    """A memory-mapped file that contains arrays of a state. start: the address of the map."""

    memory: mmap.mmap
    start: int

    @property
    def is_whole(self) -> bool:
        """Whether the file is still as long as when it was mapped."""
        return is_whole(self.memory)

    def holds(self, array: npt.NDArray[Any]) -> bool:
        """Whether the array is in the map, so that it takes no private memory of this process."""
        return self.start <= address(array) < self.start + len(self.memory)


@dataclass(frozen=True, slots=True)
class SpaceState:
    """The state of one dense vector space: its file, and the owner of each slot.

    row_of_slot: (slots,), -1 for dead slots. slot_of_row: (rows,), -1 for points without a vector.
    checksums: (blocks,) uint32, the checksum of each block of the file. dead: how many slots are
    dead.
    """

    space: Space
    vectors: VectorRows
    row_of_slot: CowArray
    slot_of_row: CowArray
    checksums: Checksums
    dead: int


@dataclass(frozen=True, slots=True)
class State:
    """The in-memory state of a collection as of `head.seq`.

    pks: (rows,) int64, ascending. alive: (rows,) bool, False for deleted points. count: how many
    points exist. all_spaces: the vector spaces by name. spaces: the dense spaces whose dimension is
    known. non_dense: sparse and multivector spaces. mapped: the file from which arrays are mapped,
    None if there is none.
    """

    head: CollectionHead
    pks: Ints
    alive: Bools
    count: int
    all_spaces: dict[str, Space]
    spaces: dict[str, SpaceState]
    non_dense: dict[str, Space]
    mapped: MappedFile | None = None
    # Contains at most one array.
    _dead_rows: list[Ints] = field(default_factory=list, init=False, repr=False)

    @property
    def is_whole(self) -> bool:
        """Whether the arrays of the state can still be read."""
        return self.mapped is None or self.mapped.is_whole

    @property
    def has_dead_rows(self) -> bool:
        """Whether any row belongs to a deleted point."""
        return self.count < len(self.alive)

    @property
    def dead_rows(self) -> Ints:
        """The rows of deleted points, ascending."""
        if not self.has_dead_rows:
            return NOWHERE
        if not self._dead_rows:
            # Another thread would add the same array.
            self._dead_rows.append(np.flatnonzero(~self.alive))
        return self._dead_rows[0]


# Not frozen, though it never changes, because creating it would take three times as long.
@dataclass(slots=True)
class View(Generic[Kept_co]):
    """The data that a call reads: the state in memory, and a transaction that shows the same `seq`.

    caches: data that earlier calls derived from the state; its type depends on the package that
    uses the view. files: the usable derived files, None if there are none. remarks: a list of
    sentences for an explanation, None if no explanation is wanted.
    """

    connection: apsw.Connection
    state: State
    caches: Kept_co
    files: DerivedFiles | None = None
    remarks: list[str] | None = None


AnyView: TypeAlias = View[object]


def is_worth_a_file(points: int) -> bool:
    """Whether there are enough points to save the state in a file. It is then mapped from the file
    instead of being loaded from the database."""
    return points >= STATES_WORTH


def known_space(state: State, name: str) -> Space:
    """The vector space with this name. Raises InvalidArgumentError if there is no such space."""
    space = state.all_spaces.get(name)
    if space is None:
        raise InvalidArgumentError(f"there is no vector space {name!r}")
    return space


def state_bytes(state: State) -> int:
    """The size of the state's arrays in bytes, without arrays that are mapped from a file."""
    arrays: list[npt.NDArray[Any]] = [state.pks, state.alive]
    for space in state.spaces.values():
        for numbers in (space.row_of_slot, space.slot_of_row):
            arrays += [numbers.base, numbers.at, numbers.values]
        arrays.append(space.checksums)
    mapped = state.mapped
    return sum(a.nbytes for a in arrays if mapped is None or not mapped.holds(a))


@dataclass(frozen=True, slots=True)
class ChangedRows:
    """The rows that one step has added or changed, in arrays (n,). anything: all these rows.
    payload: the rows with changed payloads, by the numbers of the changed keys (`log.key_number`),
    or by None if any key may have changed. documents: the rows with changed documents. non_dense:
    the rows with changed vectors in spaces that aren't dense. Added rows are in all arrays."""

    anything: Ints
    payload: dict[frozenset[int] | None, Ints]
    documents: Ints
    non_dense: Ints


NOTHING_CHANGED = ChangedRows(NOWHERE, {}, NOWHERE, NOWHERE)


@dataclass(frozen=True, slots=True)
class StateStep:
    """The step from one state to the next. changed: the changed rows, None if rows were renumbered,
    which invalidates all caches derived from earlier states."""

    state: State
    changed: ChangedRows | None


def load(connection: apsw.Connection, head: CollectionHead, open_vectors: OpenVectors) -> StateStep:
    """The state at `head`, loaded from the database. The transaction of `connection` must have read
    `head`."""
    empty = empty_state(replace(head, next_pk=0))
    return StateStep(catch_up(empty, connection, head, open_vectors).state, None)


def empty_state(head: CollectionHead) -> State:
    """A state without any points or vector spaces."""
    return State(head, np.empty(0, np.int64), np.empty(0, np.bool_), 0, {}, {}, {})


def advance(
    state: State, connection: apsw.Connection, head: CollectionHead, open_vectors: OpenVectors
) -> StateStep:
    """The step from an earlier state to the state at `head`. If `follow_log` can't make the step,
    or if loading is less work, the new state is loaded from the database."""
    step = follow_log(state, connection, head, open_vectors)
    return load(connection, head, open_vectors) if step is None else step


def follow_log(
    state: State, connection: apsw.Connection, head: CollectionHead, open_vectors: OpenVectors
) -> StateStep | None:
    """The step from an earlier state to the state at `head`, by the change log. None if the log
    doesn't reach back to the earlier state, if the generation or spaces differ, or if loading the
    whole state is less work."""
    if state.head.seq == head.seq:
        return StateStep(state, NOTHING_CHANGED)
    if (
        head.generation != state.head.generation
        or head.log_floor > state.head.seq
        or has_too_many_dead(state)
        or not numbers_of(state) <= numbers_of_spaces(connection)
    ):
        return None
    return catch_up(state, connection, head, open_vectors)


def has_too_many_dead(state: State) -> bool:
    """Whether there are so many rows of deleted points that rows should be renumbered."""
    return len(state.pks) - state.count > max(TOLERATED_DEAD_ROWS, state.count)


def numbers_of(state: State) -> set[int]:
    """The numbers of the state's vector spaces. A space's number is never reused, but the name of a
    deleted space can be. So data derived from vectors is looked up by number."""
    return {space.number for space in state.all_spaces.values()}


def rows_of(pks: Ints, sought: Ints) -> Ints:
    """The rows of the sought pks: (n,), -1 for pks without a row. pks: the pks of all rows,
    ascending."""
    if not len(pks):
        return np.full(len(sought), NONE, np.int64)
    if int(pks[-1]) - int(pks[0]) == len(pks) - 1:
        rows = sought - pks[0]
        return np.where((rows >= 0) & (rows < len(pks)), rows, NONE)
    rows = np.minimum(np.searchsorted(pks, sought), len(pks) - 1)
    return np.where(pks[rows] == sought, rows, NONE)


def catch_up(
    old: State, connection: apsw.Connection, head: CollectionHead, open_vectors: OpenVectors
) -> StateStep:
    """The step from an earlier state to the state at `head`. The caller has checked that the
    generation is the same, that no space was deleted since, and that the change log reaches back to
    the earlier state."""
    born = NOWHERE
    if head.next_pk > old.head.next_pk:
        born = present_pks(connection, old.head.next_pk, head.next_pk)
    changes = read_changes(connection, old.head.seq)
    dead_rows = _existing_rows(old.pks, changes.of(GONE))
    dead_rows = (
        dead_rows[old.alive[dead_rows] & ~are_present(connection, old.pks[dead_rows])]
        if len(dead_rows)
        else dead_rows
    )
    pks = append(old.pks, born)
    alive = append(old.alive, np.ones(len(born), np.bool_))
    if len(dead_rows):
        alive = alive.copy()
        alive[dead_rows] = False
    lost = _existing_rows(old.pks, changes.of(LOST))
    step = _VectorStep(old, connection, head.generation, open_vectors, pks, dead_rows, lost)
    all_spaces = read_spaces(connection)
    spaces = {
        name: step.state_of(space)
        for name, space in all_spaces.items()
        if space.dimension is not None and space.kind == "dense"
    }
    non_dense = {name: space for name, space in all_spaces.items() if space.kind != "dense"}
    count = old.count + len(born) - len(dead_rows)
    new = np.arange(len(old.pks), len(pks))
    state = State(head, pks, alive, count, all_spaces, spaces, non_dense, old.mapped)
    return StateStep(state, _changed_rows(changes, old.pks, new))


def changes_between(old: State, new: State, connection: apsw.Connection) -> ChangedRows | None:
    """The rows in which a state differs from a later state that was loaded from the database, for
    example after compaction. None if the later state numbers its rows differently, or if the change
    log doesn't reach back to the earlier state."""
    height = len(old.pks)
    if old.count < height or not np.array_equal(new.pks[:height], old.pks):
        return None
    return changes_since(old, new, connection)


def changes_since(old: State, new: State, connection: apsw.Connection) -> ChangedRows | None:
    """The rows of `new` that have changed since the state `old`, or that weren't in it. None if the
    change log doesn't reach back to `old`."""
    first, head = old.head.seq, new.head
    if head.seq < first or head.log_floor > first or not numbers_of(old) <= numbers_of(new):
        return None
    came = np.flatnonzero(rows_of(old.pks, new.pks) < 0)  # the log may also contain these rows
    changed = _changed_rows(read_changes(connection, first), new.pks, came)
    return ChangedRows(
        distinct(changed.anything),
        {keys: distinct(rows) for keys, rows in changed.payload.items()},
        distinct(changed.documents),
        distinct(changed.non_dense),
    )


def _changed_rows(changes: LoggedChanges, pks: Ints, new: Ints) -> ChangedRows:
    """The rows of the changed points. pks: the pks of the state in which changed points are looked
    up; new: the rows of added points."""
    anything, documents, others = (
        np.concatenate([_existing_rows(pks, changes.of(parts)), new])
        for parts in (None, DOCUMENT, NON_DENSE)
    )
    payload = {
        keys: _existing_rows(pks, changed) for keys, changed in changes.by_keys(PAYLOAD).items()
    }
    payload[None] = np.concatenate([payload.get(None, NOWHERE), new])
    return ChangedRows(anything, payload, documents, others)


def _existing_rows(pks: Ints, sought: Ints) -> Ints:
    rows = rows_of(pks, sought)
    return rows[rows >= 0]


@dataclass(frozen=True, slots=True)
class _NewSlots:
    """Slots added to a vector space since an earlier state, in the order in which they were
    written, beginning with the slot `first`. rows: (slots,) the rows of their owners, NONE for
    deleted points. are_lost: (slots,) bool, whether each slot is marked as lost, because its
    point's vector was deleted."""

    first: int
    rows: Ints
    are_lost: Bools

    @classmethod
    def of(cls, first: int, owners: Ints, pks: Ints) -> "_NewSlots":
        """Create the object from `owners`: for each slot from `first` on, the pk that owns it,
        inverted (~pk) for a lost slot."""
        return cls(first, rows_of(pks, np.maximum(owners, ~owners)), owners < 0)

    def owned_slots(self) -> tuple[Ints, Ints]:
        """The slots whose owners exist, and the owners' rows."""
        places = np.flatnonzero(self.rows >= 0)
        return places + self.first, self.rows[places]


@dataclass(frozen=True, slots=True)
class _VectorStep:
    """Computes the states of vector spaces after a step, from the states before it. pks: the pks of
    all rows after the step. dead_rows: the rows of points that were deleted in the step. lost: the
    rows of points that may have lost their vector in the step."""

    state: State
    connection: apsw.Connection
    generation: int
    open_vectors: OpenVectors
    pks: Ints
    dead_rows: Ints
    lost: Ints

    def state_of(self, space: Space) -> SpaceState:
        """The state of a vector space after the step."""
        pks, dead_rows, old = self.pks, self.dead_rows, self.state.spaces.get(space.name)
        if old is None:
            vectors = self.open_vectors(space, self.generation)
            old = _without_slots(space, vectors, len(self.state.pks))
        lost = self._without_vector(space, old)
        same_rows = len(pks) == len(old.slot_of_row) and not len(lost) and not len(dead_rows)
        if same_rows and space.slots == old.space.slots:
            return replace(old, space=space)
        checksums, owners = self._read_blocks(space, old)
        new = _NewSlots.of(old.space.slots, owners, pks)
        slot_of_row = _append(old.slot_of_row, new, len(pks))
        slot_of_row, superseded = _supersede(
            slot_of_row, new, len(old.slot_of_row), lost, dead_rows
        )
        slot_of_row = _disown(slot_of_row, new)
        slots, rows = new.owned_slots()
        living = np.full(len(new.rows), NONE)
        living[slots - new.first] = np.where(slot_of_row[rows] == slots, rows, NONE)
        row_of_slot = old.row_of_slot.with_tail(living).with_values(superseded, NONE)
        dead = old.dead + len(superseded) + int(np.count_nonzero(living < 0))
        return SpaceState(space, old.vectors, row_of_slot, slot_of_row, checksums, dead)

    def _without_vector(self, space: Space, old: SpaceState) -> Ints:
        """The rows whose vectors in the old state have been deleted since."""
        rows, slots = self.lost, old.slot_of_row[self.lost]
        rows, slots = rows[slots >= 0], slots[slots >= 0]
        if not len(rows):
            return rows
        return rows[owners_of(self.connection, space, self.generation, slots) < 0]

    def _read_blocks(self, space: Space, old: SpaceState) -> tuple[Checksums, Ints]:
        """The checksums of all blocks, and the owners of the slots that are new since `old`."""
        block_rows = rows_per_block(space.row_bytes)
        first = old.space.slots // block_rows
        query = """SELECT checksum, owners FROM blocks
                   WHERE space = ? AND generation = ? AND block >= ? ORDER BY block"""
        blocks = select(self.connection, query, space.number, self.generation, first)
        fresh = np.array([checksum for checksum, _ in blocks], np.uint32)
        owners = np.frombuffer(b"".join([blob for _, blob in blocks]), "<i8")
        count = space.slots - first * block_rows
        if len(owners) != count or len(fresh) != -(-count // block_rows):
            raise ContradictionError(
                f"vector space {space.name!r} has blocks for {len(owners)} vectors"
            )
        new = owners[old.space.slots - first * block_rows :]
        return np.concatenate([old.checksums[:first], fresh]), new


def _without_slots(space: Space, vectors: VectorRows, rows: int) -> SpaceState:
    """The state of a space that contains no vectors. rows: the number of rows."""
    nowhere = CowArray(np.full(rows, NONE), NOWHERE, NOWHERE)
    empty = replace(space, slots=0)
    return SpaceState(empty, vectors, NOTHING, nowhere, np.empty(0, np.uint32), 0)


def _append(slot_of_row: CowArray, new: _NewSlots, rows: int) -> CowArray:
    """`slot_of_row`, extended to `rows` rows. A new point gets the last slot that it owns."""
    height = len(slot_of_row)
    born = np.full(rows - height, NONE)
    slots, owners = new.owned_slots()
    of_born = owners >= height
    # If a row owns several slots, the last is assigned.
    born[owners[of_born] - height] = slots[of_born]
    return slot_of_row.with_tail(born)


def _supersede(
    slot_of_row: CowArray, new: _NewSlots, height: int, lost: Ints, dead_rows: Ints
) -> tuple[CowArray, Ints]:
    """`slot_of_row`, updated for the first `height` rows, which the earlier state already had. A
    row gets the new slot if its vector was replaced, and NONE if the point or its vector was
    deleted. Also returns the old slots of all changed rows, which are dead now."""
    slots, owners = new.owned_slots()
    were_there = owners < height
    rows = np.concatenate([lost, owners[were_there], dead_rows])
    values = [np.full(len(lost), NONE), slots[were_there], np.full(len(dead_rows), NONE)]
    superseded = distinct(slot_of_row[rows])
    return slot_of_row.with_values(rows, np.concatenate(values)), superseded[superseded >= 0]


def _disown(slot_of_row: CowArray, new: _NewSlots) -> CowArray:
    """`slot_of_row`, with NONE for rows whose last slot is marked as lost."""
    places = np.flatnonzero((new.rows >= 0) & new.are_lost)
    rows = new.rows[places]
    return slot_of_row.with_values(rows[slot_of_row[rows] == places + new.first], NONE)


FEW = 16  # ids of one statement, which has a parameter for each
_IDS: set[type] = {str, int}
_TEXTS: set[type] = {str, type(None)}
OTHER_VECTOR = 4_000  # approximate bytes of a sparse vector, or of several vectors


def vector_bytes(view: AnyView, fields: Fields) -> int:
    """The approximate size in bytes of a point's vectors when they are read as arrays."""
    state, size = view.state, 0
    for name in fields.vectors:
        if name in state.spaces:
            size += 4 * (state.spaces[name].space.dimension or 0)
        elif name in state.non_dense:
            size += OTHER_VECTOR
    return size


# If a read has at least COUNTED points, its bytes are counted, except for SMALL_FIELDS of each
# point.
COUNTED, SMALL_FIELDS = 64, 500


def fetch(view: AnyView, rows: Ints, fields: Fields) -> Points:
    """Read the points at these rows of the state, in the order of the rows."""
    columns = _columns(fields, view.connection)
    records: list[tuple[Any, ...]] = []
    if len(rows) < COUNTED:
        records = read_many(view.connection, columns, view.state.pks[rows])
    else:
        for piece in read_records(view.connection, columns, view.state.pks[rows]):
            size = sum(len(v) for record in piece for v in record if type(v) in (str, bytes))
            budget.take(2 * max(0, size - SMALL_FIELDS * len(piece)), "bytes of points", size)
            records += piece
    if len(records) != len(rows):
        raise DamagedError("points.sqlite lacks points that its bitmap contains")
    vectors = None
    if fields.vectors:
        vectors = {name: read_vectors(view, rows, name) for name in fields.vectors}
    return _points(records, fields, vectors)


def fetch_few(connection: apsw.Connection, ids: Sequence[PointId], fields: Fields) -> Points | None:
    """The points with these ids (at most FEW), in the order of the ids, without vectors. One
    statement reads them; it needs no transaction and no state in memory. None if the collection is
    deleted or none of the ids exists. In both cases the caller must read in a transaction, which
    shows the reason."""
    keys: dict[Any, PointId] = {to_key(point_id): point_id for point_id in ids}
    if isinstance(ids, ShownIds):
        integers = {to_key(int(text)): text for text in ids if shows_an_integer(text)}
        keys = {**keys, **integers} if integers else keys
    query = _query_by_ids(_columns(fields, connection), len(keys))
    rows = connection.execute(query, (*keys,)).fetchall()
    if not rows or rows[0][-1]:
        return None
    records: dict[PointId, tuple[Any, ...]] = {}
    for record in rows:
        point_id = keys[record[0]]
        # The string "7" takes precedence over the integer 7.
        if isinstance(record[0], str) or point_id not in records:
            records[point_id] = record
    return _points([records[point_id] for point_id in ids if point_id in records], fields, None)


@lru_cache(maxsize=256)
def _query_by_ids(columns: str, count: int) -> str:
    """A query for `count` points by their ids. It also selects whether the collection has been
    deleted."""
    marks = ", ".join("?" * count)
    return (
        f"SELECT {columns}, (SELECT dropped FROM head) FROM points "
        f"WHERE id IN ({marks}) LIMIT {count}"
    )


def _points(
    records: Sequence[tuple[Any, ...]], fields: Fields, vectors: dict[str, VectorsRead] | None
) -> Points:
    """The points in these records, which have the columns that `_columns` names."""
    columns = iter(zip(*records, strict=True) if records else repeat(()))
    return Points(
        _ids(next(columns)),
        decode_payloads(next(columns)) if fields.payload else None,
        _texts(next(columns), "document") if fields.document else None,
        _texts(next(columns), "uri") if fields.uri else None,
        vectors,
        np.array(next(columns), np.int64) if fields.version else None,
    )


def fetch_each(view: AnyView, groups: Sequence[Ints], fields: Fields) -> list[Points]:
    """Read the points of several groups of rows together; one `Points` for each group. The groups
    share no mutable values."""
    points = fetch(view, np.concatenate([*groups, np.empty(0, np.int64)]), fields)
    stops = accumulate(map(len, groups))
    return [
        points.at(slice(stop - len(rows), stop)) for rows, stop in zip(groups, stops, strict=True)
    ]


def _columns(fields: Fields, connection: apsw.Connection) -> str:
    """The names of the columns to read, in the order of the fields of `Points`."""
    version = fields.version and ("version" if has_versions(connection) else "0")
    return _column_list(fields.payload, fields.document, fields.uri, version or "")


@lru_cache(maxsize=64)
def _column_list(payload: bool, document: bool, uri: bool, version: str) -> str:
    chosen = True, payload, document, uri, version
    return ", ".join(compress(("id", "payload", "document", "uri", version), chosen))


def _ids(keys: Sequence[Any]) -> list[PointId]:
    kinds = set(map(type, keys))
    if not kinds <= _IDS:
        raise _odd("id")
    return to_ids(keys) if int in kinds else [*keys]


def _texts(texts: Sequence[Any], name: str) -> list[str | None]:
    if not set(map(type, texts)) <= _TEXTS:
        raise _odd(name)
    return [*texts]


def _odd(name: str) -> ContradictionError:
    """The error for a value whose type isn't that of the column `name`; SQLite doesn't enforce
    types."""
    return ContradictionError(f"a point has a value as {name} that can't be one")


def read_vectors(view: AnyView, rows: Ints, name: str) -> VectorsRead:
    """The vectors of these rows in a space of any kind."""
    if name in view.state.non_dense:
        from retrieval_store.engine.storage.write import read_non_dense

        pks = view.state.pks[rows]
        vectors = dict(read_non_dense(view.connection, view.state.non_dense[name], np.sort(pks)))
        return [vectors.get(pk) for pk in pks.tolist()]
    return fetch_vectors(view, rows, name)


def fetch_vectors(view: AnyView, rows: Ints, name: str) -> Matrix:
    """Copies of the vectors at these rows: (n, dim) float32, with NaN for points without a
    vector."""
    space = view.state.spaces.get(name)
    if space is None:
        return np.empty((len(rows), 0), np.float32)
    slots = space.slot_of_row[rows]
    owned = slots >= 0
    stored = space.vectors.rows(space.space.slots)
    space.vectors.verify_once(stored, space.checksums, slots[owned])
    matrix = np.full((len(rows), stored.shape[1]), np.nan, np.float32)
    matrix[owned] = as_float32(stored[slots[owned]])
    return matrix
