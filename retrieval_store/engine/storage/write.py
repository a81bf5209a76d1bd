"""Writes points, inside one transaction of points.sqlite.

The order of the steps makes a crash harmless at any moment. First the points' database rows are
written. Then the vectors are appended after the committed vectors, and synced. Then the blocks and
the head are written, which make the vectors valid. COMMIT comes last: before it, readers see
nothing of the write; after it, everything. If there are only a few vectors, they aren't synced, but
also written to the table `unsynced`. After a power cut, the first process that loads the collection
rewrites them to their file; the next sync of the file includes them.

Vectors of spaces that aren't dense are blobs in points.sqlite, one record for each point. The blob
of a sparse vector contains its indices, uint32, and then its values, float32. The blob of several
dense vectors contains their numbers, float32, row by row. All numbers are little-endian.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any, Protocol

import apsw
import numpy as np
import orjson

from retrieval_store.base.arrays import (
    FLOAT16_INFINITY,
    FLOAT16_MAX,
    Bools,
    Ints,
    Matrix,
    SparseVector,
    Stored,
    as_bytes,
    as_float16,
    as_float32,
    distinct,
)
from retrieval_store.base.validation import Payload, absent_ids, existing_ids, list_ids
from retrieval_store.engine.sqlite import ContradictionError, select
from retrieval_store.engine.storage.log import MAX_KEYS, WriteTransaction, finish, set_present
from retrieval_store.engine.storage.records import decode_payloads, read_records
from retrieval_store.engine.storage.schema import (
    DOCUMENT,
    EVERY_PART,
    LOST,
    NON_DENSE,
    PAYLOAD,
    Space,
    pks_of_ids,
    pks_of_shown_integers,
    read_spaces,
    space_by_name,
    to_key,
)
from retrieval_store.engine.storage.vector_files import (
    checksums_after,
    owners_of,
    read_unsynced,
    rows_per_block,
)
from retrieval_store.errors import (
    DimensionMismatchError,
    IDAlreadyExistsError,
    InvalidArgumentError,
)
from retrieval_store.filters import paths
from retrieval_store.filters.nodes import Expression
from retrieval_store.query.types import (
    UNSET,
    Content,
    NonDenseVector,
    NonDenseVectors,
    PointBatch,
    PointId,
    PutResult,
    ShownIds,
    Vectors,
    WriteRules,
    merge_payload,
    with_nulls,
)

AT_ONCE = 20_000


def put_non_dense(
    connection: apsw.Connection, space: Space, items: Sequence[NonDenseVector], owners: Ints
) -> None:
    """Store one item for each owner, which replaces the owner's old item. Items with the owner -1
    are only checked. The first write sets the dimension of a multivector space."""
    dimension = space.dimension
    for item in items:
        if space.kind == "multi":
            dimension = _check_dimension(space, item, dimension)
        else:
            _check_sparse(space, item)
    records = [
        (pk, space.number, encode_item(item))
        for pk, item in zip(owners.tolist(), items, strict=True)
        if pk >= 0
    ]
    connection.executemany("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", records)
    if dimension != space.dimension and records:
        query = "UPDATE spaces SET dimension = ? WHERE number = ?"
        connection.execute(query, (dimension, space.number))


def _check_sparse(space: Space, item: NonDenseVector) -> None:
    if not isinstance(item, SparseVector):
        raise InvalidArgumentError(f"the vectors of space {space.name!r} must be sparse")
    indices, values = item.indices, item.values
    if len(indices) != len(values) or (np.diff(indices.astype(np.int64)) <= 0).any():
        raise InvalidArgumentError(
            f"a sparse vector of space {space.name!r} has {len(indices)} indices and {len(values)} "
            "values; expected as many of both, and indices that ascend"
        )
    if not np.isfinite(values).all():
        raise InvalidArgumentError(
            f"a sparse vector of space {space.name!r} has values that aren't finite"
        )


def _check_dimension(space: Space, item: NonDenseVector, dimension: int | None) -> int:
    if isinstance(item, SparseVector) or item.ndim != 2 or not item.size:
        raise InvalidArgumentError(
            f"the vectors of space {space.name!r} must be matrices with rows"
        )
    if dimension not in (None, item.shape[1]):
        raise DimensionMismatchError(
            f"a vector has {item.shape[1]} numbers, but space {space.name!r} holds vectors of "
            f"{dimension}"
        )
    return int(item.shape[1])


def delete_non_dense(connection: apsw.Connection, pks: Ints, space: Space | None = None) -> None:
    """Delete the vectors of these points in a space, or in all spaces that aren't dense."""
    query = "DELETE FROM blobs WHERE pk IN carray(?)"
    pk_array = apsw.carray(np.ascontiguousarray(pks))
    if space is None:
        connection.execute(query, (pk_array,))
    else:
        connection.execute(f"{query} AND space = ?", (pk_array, space.number))


def count_non_dense(connection: apsw.Connection, space: Space) -> int:
    """How many points have a vector in a space that isn't dense."""
    query = "SELECT count(*) FROM blobs WHERE space = ?"
    ((count,),) = select(connection, query, space.number)
    return int(count)


def read_non_dense(
    connection: apsw.Connection, space: Space, pks: Ints
) -> Iterator[tuple[int, NonDenseVector]]:
    """Yield (pk, item) for each of these points that has an item in the space, in ascending order
    of pks."""
    for pk, blob in read_blobs(connection, space, pks):
        yield pk, decode_item(blob, space)


def read_blobs(connection: apsw.Connection, space: Space, pks: Ints) -> Iterator[tuple[int, bytes]]:
    """Like `read_non_dense`, but the items aren't decoded."""
    query = "SELECT pk, content FROM blobs WHERE pk IN carray(?) AND space = ? ORDER BY pk"
    for start in range(0, len(pks), AT_ONCE):
        piece = np.ascontiguousarray(pks[start : start + AT_ONCE], np.int64)
        yield from select(connection, query, apsw.carray(piece), space.number)


def encode_item(item: NonDenseVector) -> bytes:
    """The bytes that represent an item in the database."""
    if isinstance(item, SparseVector):
        return item.indices.astype("<u4").tobytes() + item.values.astype("<f4").tobytes()
    return item.astype("<f4").tobytes()


def decode_item(blob: bytes, space: Space) -> NonDenseVector:
    """The item that these stored bytes represent; the inverse of `encode_item`."""
    if space.kind == "sparse":
        half = len(blob) // 8
        return SparseVector(
            np.frombuffer(blob, "<u4", half), np.frombuffer(blob, "<f4", half, half * 4)
        )
    matrix: Matrix = np.frombuffer(blob, "<f4").reshape(-1, space.dimension or 1)
    if not len(matrix):
        raise ContradictionError(f"a point has none of its vectors in space {space.name!r}")
    return matrix


_CHANGE_BLOCK = """
    UPDATE blocks SET checksum = ?, owners = ? WHERE space = ? AND generation = ? AND block = ?
"""
_ADD_BLOCK = """
    INSERT OR REPLACE INTO blocks (checksum, owners, space, generation, block)
    VALUES (?, ?, ?, ?, ?)
"""


class PointLookup(Protocol):
    """Looks up points as the earlier operations of the transaction have left them."""

    def fulfilling(self, pks: Ints, expression: Expression) -> Bools:
        """Which of these points fulfil the expression: (n,) bool. All the points must exist."""

    def slots(self, space: str, pks: Ints) -> Ints:
        """The slots of these points' vectors in a dense space: (n,), -1 for points without a
        vector."""


def put_points(
    write: WriteTransaction, batch: PointBatch, rules: WriteRules, lookup: PointLookup
) -> PutResult:
    """Insert and update points. `rules` decides how existing and missing points are treated. After
    an error the caller must roll back."""
    pks = _pks(write.connection, batch, rules)
    is_new = pks < 0
    changed = _points_to_change(pks, ~is_new, rules, lookup)
    inserting = rules.on_missing == "insert"
    pks[~is_new & ~changed] = -1
    if inserting:
        _require_vectors(batch, is_new, rules.needs_vector)
        pks[is_new] = write.head.next_pk + np.arange(np.count_nonzero(is_new))
        if is_new.any():
            _insert(write, batch, pks, is_new)
    has_non_dense = any(isinstance(v, NonDenseVectors) for v in batch.vectors.values())
    parts, content = NON_DENSE if has_non_dense else 0, _ContentChanges()
    if rules.on_existing == "replace":
        parts |= _delete_other_vectors(write, batch, pks, changed, lookup)
        batch = with_nulls(batch)
    cleared: Sequence[PointId] = ()
    if changed.any():
        if rules.on_existing == "update":
            cleared = _cleared_ids(write.connection, batch, pks, changed)
        _update(write, batch, pks, changed, rules, content)
    for name in batch.vectors:
        _put_vectors(write, name, batch, pks)
    new_pks, old_pks = pks[is_new & (pks >= 0)], pks[changed]
    if len(new_pks) or len(old_pks):
        if len(new_pks):
            set_present(write.connection, new_pks, True)
        finish(write, old_pks, parts | content.parts, len(new_pks), content.keys)
    ignored = [batch.ids[i] for i in np.flatnonzero(pks < 0).tolist()]
    return PutResult(len(new_pks), len(old_pks), ignored, cleared)


def delete(write: WriteTransaction, pks: Ints) -> None:
    """Delete the points with these pks. All of them must exist."""
    if len(pks):
        pks = np.sort(pks)
        write.connection.execute("DELETE FROM points WHERE pk IN carray(?)", (apsw.carray(pks),))
        delete_non_dense(write.connection, pks)
        set_present(write.connection, pks, False)
        finish(write, pks, EVERY_PART, 0)


def edit(write: WriteTransaction, pks: Ints, make: Callable[[Content], Content]) -> None:
    """Replace the content of each of these points. `make` computes the new content from the old
    content."""
    if not len(pks):
        return
    pks, version, changed = np.sort(pks), write.head.seq + 1, _ContentChanges()
    query = "UPDATE points SET payload = ?, document = ?, uri = ?, version = ? WHERE pk = ?"
    for piece in read_records(write.connection, "pk, payload, document, uri", pks):
        payloads = decode_payloads(payload for _, payload, _, _ in piece)
        records = []
        for (pk, *before), payload in zip(piece, payloads, strict=True):
            content = make(Content(payload, *before[1:]))
            after = _as_json(content.payload), content.document, content.uri
            for column, old, new in zip(CONTENT, before, after, strict=True):
                changed.note(column, old, new, content.payload)
            records.append((*after, version, pk))
        write.connection.executemany(query, records)
    finish(write, pks, changed.parts, 0, changed.keys)


CONTENT = "payload", "document", "uri"  # columns of the table
# The keys of payloads under which these columns are shown.
SHOWN = {"document": paths.DOCUMENT, "uri": paths.URI}
# For equal values of these types, no comparison as JSON is needed.
PLAIN = {str, int, bool, type(None)}


class _ContentChanges:
    """The changes that a write makes to the content of points. parts: bits that stand for the
    changed parts. keys: the first keys of changed payload values, including the reserved keys of
    documents and URIs; None for any key."""

    def __init__(self) -> None:
        self.parts = 0
        self.keys: set[str] | None = set()

    def note(
        self, column: str, before: Any, after: Any, new: Payload | None, old: Payload | None = None
    ) -> None:
        """Record that a point's value in a column changes from `before` to `after`. new: the
        point's new payload. old: its old payload, None if it wasn't decoded."""
        if before == after:
            return
        self.parts |= PAYLOAD | (DOCUMENT if column == "document" else 0)
        if self.keys is None:
            return
        if column in SHOWN:
            self.keys.add(SHOWN[column])
            return
        try:
            old, new = orjson.loads(before or b"{}") if old is None else old, new or {}
            other_keys = (old.keys() | new.keys()) - self.keys
        except (AttributeError, ValueError):  # the payload is damaged, and can be replaced
            self.keys = None
            return
        self.keys.update(key for key in other_keys if not _is_same_value(key, old, new))
        if len(self.keys) > MAX_KEYS:
            self.keys = None


def _is_same_value(key: str, old: Payload, new: Payload) -> bool:
    """Whether both payloads have the key with the same value. Values are compared as JSON, because
    1 equals True and 1.0 in Python."""
    if key not in old or key not in new:
        return False
    before, after = old[key], new[key]
    if before is after or type(before) is type(after) in PLAIN:
        return before is after or before == after
    return orjson.dumps(before) == orjson.dumps(after)


def delete_vectors(
    write: WriteTransaction, pks: Ints, spaces: Iterable[Space], lookup: PointLookup
) -> None:
    """Delete the vectors in these spaces from the points with these pks. All the points must
    exist."""
    if len(pks):
        parts = 0
        for space in spaces:
            parts |= _take_vectors(write, space, pks, lookup)
        query = "UPDATE points SET version = ? WHERE pk IN carray(?)"
        write.connection.execute(query, (write.head.seq + 1, apsw.carray(pks)))
        finish(write, pks, parts, 0)


def _pks(connection: apsw.Connection, batch: PointBatch, rules: WriteRules) -> Ints:
    """The pks of the points of a batch: (n,), -1 for missing points. If the rules refuse existing
    points and insert missing points, all pks are -1, and points aren't looked up: SQLite's unique
    constraint detects existing points. Only integer ids that are given as strings are looked up."""
    if rules.on_existing == "refuse" and rules.on_missing == "insert":
        shown_ids = batch.ids if isinstance(batch.ids, ShownIds) else ShownIds()
        if pks_of_shown_integers(connection, shown_ids):
            _refuse_existing(connection, shown_ids)
        return np.full(len(batch.ids), -1, np.int64)
    pks_by_id = pks_of_ids(connection, batch.ids)
    pks = np.array([pks_by_id.get(point_id, -1) for point_id in batch.ids], np.int64)
    if rules.on_missing == "refuse" and len(pks_by_id) < len(batch.ids):
        absent = [point_id for point_id in batch.ids if point_id not in pks_by_id]
        raise absent_ids(absent)
    if rules.on_existing == "refuse" and pks_by_id:
        raise _exists_error(pks_by_id)
    return pks


def _refuse_existing(connection: apsw.Connection, ids: ShownIds) -> None:
    """Raise IDAlreadyExistsError if any point has one of these ids, read as strings or as
    integers."""
    texts = pks_of_ids(connection, [*ids])
    integers = [int(text) for text in pks_of_shown_integers(connection, ids, texts)]
    if texts or integers:
        raise _exists_error([*texts, *integers])


def _points_to_change(pks: Ints, exists: Bools, rules: WriteRules, lookup: PointLookup) -> Bools:
    """Which points of a batch exist and must be changed: (n,) bool."""
    if rules.on_existing == "ignore":
        return np.zeros_like(exists)
    if rules.where is None:
        return exists
    changed = exists.copy()
    changed[exists] = lookup.fulfilling(pks[exists], rules.where)
    return changed


def _delete_other_vectors(
    write: WriteTransaction, batch: PointBatch, pks: Ints, changed: Bools, lookup: PointLookup
) -> int:
    """If the rule is "replace", delete those vectors of the changed points that are missing from
    the batch. Returns the parts of points that were changed, as bits."""
    parts = 0
    for name, space in read_spaces(write.connection).items():
        lacking = changed.copy()
        if name in batch.vectors:
            positions = batch.vectors[name].positions
            lacking[slice(None) if positions is None else positions] = False
        if lacking.any():
            parts |= _take_vectors(write, space, pks[lacking], lookup)
    return parts


def _take_vectors(write: WriteTransaction, space: Space, pks: Ints, lookup: PointLookup) -> int:
    """Delete the points' vectors in a space. Returns the bit of the part of points that was
    changed."""
    if space.kind != "dense":
        delete_non_dense(write.connection, pks, space)
        return NON_DENSE
    slots = lookup.slots(space.name, pks)
    pks, slots = pks[slots >= 0], slots[slots >= 0]
    if len(slots):
        # The slots may come from a derived file, so they are verified before vectors are deleted.
        generation = write.head.generation
        if not np.array_equal(owners_of(write.connection, space, generation, slots), pks):
            raise ContradictionError(f"vectors of space {space.name!r} aren't where they should be")
        disown(write.connection, space, generation, slots)
    return LOST


def _require_vectors(batch: PointBatch, is_new: Bools, name: str | None) -> None:
    if name is None:
        return
    vectors = batch.vectors.get(name)
    if vectors is not None and vectors.positions is None:
        return
    lacking = is_new.copy()
    if vectors is not None:
        lacking[vectors.positions] = False
    if lacking.any():
        ids = [batch.ids[i] for i in np.flatnonzero(lacking).tolist()]
        raise InvalidArgumentError(f"no embedding is given for new ids: {list_ids(ids)}")


def _insert(write: WriteTransaction, batch: PointBatch, pks: Ints, is_new: Bools) -> None:
    places = np.flatnonzero(is_new).tolist()

    def column(values: Sequence[Any] | None) -> Iterable[Any]:
        if values is None:
            return repeat(None)
        return (None if values[i] is UNSET else values[i] for i in places)

    payloads = map(_as_json, column(batch.payloads))
    records = zip(
        pks[is_new].tolist(),
        (to_key(batch.ids[i]) for i in places),
        payloads,
        column(batch.documents),
        column(batch.uris),
        repeat(write.head.seq + 1),
        strict=False,
    )
    try:
        write.connection.executemany("INSERT INTO points VALUES (?, ?, ?, ?, ?, ?)", records)
    except apsw.ConstraintError:
        pks_by_id = pks_of_ids(write.connection, batch.ids)
        raise _exists_error(
            [point_id for point_id, pk in pks_by_id.items() if pk < write.head.next_pk]
        ) from None


def _exists_error(ids: Iterable[PointId]) -> IDAlreadyExistsError:
    return IDAlreadyExistsError(existing_ids([*ids]))


def _update(
    write: WriteTransaction,
    batch: PointBatch,
    pks: Ints,
    changed: Bools,
    rules: WriteRules,
    content: _ContentChanges,
) -> None:
    """Change those fields of the points that the batch contains, and the points' versions, row by
    row. One statement changes all points with the same fields. content: records the changes."""
    columns = zip(CONTENT, (batch.payloads, batch.documents, batch.uris), strict=True)
    columns_of_batch: dict[str, Sequence[Any]] = {
        name: values for name, values in columns if values is not None
    }
    places = np.flatnonzero(changed)
    places = places[np.argsort(pks[places])]
    stored = _read_stored(write.connection, pks[places], [*columns_of_batch])
    merges = rules.merge_payloads and rules.on_existing != "replace"
    records: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    version, numbers = write.head.seq + 1, pks.tolist()
    for i, before in zip(places.tolist(), stored, strict=True):
        row_values = {
            name: values[i] for name, values in columns_of_batch.items() if values[i] is not UNSET
        }
        old, new = None, row_values.get("payload")
        if "payload" in row_values:
            if merges:
                (old,) = decode_payloads([before["payload"]])
                new = merge_payload(old, new)
            row_values["payload"] = _as_json(new)
        for name, value in row_values.items():
            content.note(name, before[name], value, new, old)
        records.setdefault((*row_values,), []).append((*row_values.values(), version, numbers[i]))
    for names, rows in records.items():
        parts = ", ".join(f"{name} = ?" for name in (*names, "version"))
        write.connection.executemany(f"UPDATE points SET {parts} WHERE pk = ?", rows)


def _cleared_ids(
    connection: apsw.Connection, batch: PointBatch, pks: Ints, changed: Bools
) -> Sequence[PointId]:
    """The ids of changed points whose document or uri the batch replaces with null."""
    lost: set[int] = set()
    for name, values in (("document", batch.documents), ("uri", batch.uris)):
        numbered_values = enumerate(values or ())
        places = [i for i, value in numbered_values if value is None and changed[i]]
        if places:
            query = f"SELECT pk FROM points WHERE pk IN carray(?) AND {name} IS NOT NULL"
            lost.update(pk for (pk,) in connection.execute(query, (apsw.carray(pks[places]),)))
    return [batch.ids[i] for i in np.flatnonzero(np.isin(pks, [*lost])).tolist()] if lost else ()


def _read_stored(
    connection: apsw.Connection, pks: Ints, columns: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """For each of these points, its values in some columns of the table. The pks must ascend."""
    if not columns:
        return repeat({}, len(pks))
    pieces = read_records(connection, ", ".join(columns), pks)
    return (dict(zip(columns, record, strict=True)) for piece in pieces for record in piece)


def _as_json(payload: Payload | None) -> bytes | None:
    return None if payload is None else orjson.dumps(payload)


def _put_vectors(write: WriteTransaction, name: str, batch: PointBatch, pks: Ints) -> None:
    space, vectors = space_by_name(write.connection, name), batch.vectors[name]
    owners = pks if vectors.positions is None else pks[vectors.positions]
    if isinstance(vectors, NonDenseVectors) != (space.kind != "dense"):
        raise InvalidArgumentError(f"vector space {name!r} is {space.kind}")
    if isinstance(vectors, NonDenseVectors):
        items = [_round_item(space, item) for item in vectors.items]
        put_non_dense(write.connection, space, items, owners)
    else:
        _refuse_other_dimension(space, vectors.matrix)
        rows = _as_stored(space, vectors, batch.ids)
        if space.dimension is None:
            space = replace(space, dimension=rows.shape[1])
        _append_vectors(write, space, rows, owners)


def _refuse_other_dimension(space: Space, matrix: Matrix) -> None:
    dimension = matrix.shape[1]
    if space.dimension not in (None, dimension):
        raise DimensionMismatchError(
            f"the embeddings have {dimension} numbers, but the collection holds vectors of "
            f"{space.dimension} (its dimension)"
        )


def _as_stored(space: Space, vectors: Vectors, ids: Sequence[PointId]) -> Stored:
    """The vectors in the datatype of the space. Raises InvalidArgumentError if a number exceeds
    float16's range."""
    matrix = vectors.matrix
    if space.datatype == "float32":
        return matrix
    if space.datatype == "uint8":
        return as_bytes(matrix)
    beyond = _beyond_halves(matrix)
    if beyond is not None:
        row, column = beyond
        place = row if vectors.positions is None else int(vectors.positions[row])
        raise InvalidArgumentError(
            f"embeddings[{place}], of id {ids[place]!r}, has the number {matrix[row, column]!s}, "
            f"but the collection stores float16: expected numbers from {-FLOAT16_MAX:,.0f} to "
            f"{FLOAT16_MAX:,.0f}, or a collection of float32"
        )
    return as_float16(matrix)


def _beyond_halves(matrix: Matrix) -> tuple[int, int] | None:
    """The row and column of the first number that exceeds float16's range, None if there is no such
    number. FLOAT16_INFINITY is accepted, because it is written on purpose for a number out of
    range."""
    if max(matrix.max(initial=0), -matrix.min(initial=0)) <= FLOAT16_MAX:
        return None
    size = np.abs(matrix)
    places = np.argwhere((size > FLOAT16_MAX) & (size != FLOAT16_INFINITY))
    return (int(places[0][0]), int(places[0][-1])) if len(places) else None


def _round_item(space: Space, item: NonDenseVector) -> NonDenseVector:
    """A multivector with its numbers rounded to the space's datatype, stored as float32. Other
    items are returned unchanged."""
    if space.kind != "multi" or isinstance(item, SparseVector) or space.datatype == "float32":
        return item
    if space.datatype == "float16" and _beyond_halves(item) is not None:
        raise InvalidArgumentError(
            f"a vector of space {space.name!r} has the number {np.abs(item).max()!s}, but the "
            f"space keeps float16: expected numbers from {-FLOAT16_MAX:,.0f} to "
            f"{FLOAT16_MAX:,.0f}"
        )
    return as_float32(as_bytes(item) if space.datatype == "uint8" else as_float16(item))


def _append_vectors(write: WriteTransaction, space: Space, rows: Stored, owners: Ints) -> None:
    """Append vectors. owners: the pk of each vector's point; -1 for a vector of an ignored point,
    which is left out."""
    if owners.min(initial=0) < 0:
        rows, owners = rows[owners >= 0], owners[owners >= 0]
    appended = append_rows(write, space, write.head.generation, rows, owners)
    if appended.slots > space.slots:
        write.connection.execute(  # the first write sets the dimension
            "UPDATE spaces SET slots = ?, dimension = ? WHERE number = ?",
            (appended.slots, appended.dimension, space.number),
        )


def append_rows(
    write: WriteTransaction, space: Space, generation: int, rows: Stored, owners: Ints
) -> Space:
    """Append vectors to the file of this generation, after its first `space.slots` rows, and store
    their checksums and owners in the table `blocks`. Returns the space with its new number of
    slots, which the caller must store."""
    if not len(owners):
        return space
    block_rows = rows_per_block(space.row_bytes)
    last, checksum, last_owners = _last_block(write.connection, space.number, generation)
    if last != (space.slots - 1) // block_rows:
        raise ContradictionError(
            f"vector space {space.name!r} has other blocks than its vectors need"
        )
    if space.slots % block_rows == 0:
        checksum, last_owners = 0, b""  # a new block begins
    _write_rows(write, space, generation, rows)
    records = []
    for block, start, stop, total in checksums_after(space.slots, rows, checksum):
        blob = last_owners + owners[start:stop].astype("<i8").tobytes()
        records.append((total, blob, space.number, generation, block))
        last_owners = b""
    # An UPDATE, because replacing the row would also change the table's index.
    if space.slots % block_rows:
        write.connection.execute(_CHANGE_BLOCK, records.pop(0))
    if records:
        write.connection.executemany(_ADD_BLOCK, records)
    return replace(space, slots=space.slots + len(rows))


# Bytes of vectors; a write of at most this size doesn't wait for the vector file, …
SMALL_BYTES = 32 * 1024
UNSYNCED_BYTES = 128 * 1024  # … until this many bytes of a space aren't synced yet


def _write_rows(write: WriteTransaction, space: Space, generation: int, rows: Stored) -> None:
    """Write vectors to their file, so that they are as durable as the transaction will be. A few
    vectors are made durable by copies in the table `unsynced`, more vectors by syncing the file."""
    vectors, connection = write.open_vectors(space, generation), write.connection
    if generation != write.head.generation:
        vectors.append(space.slots, rows)
        return
    query = "SELECT slot FROM unsynced WHERE space = ? ORDER BY number LIMIT 1"
    ((first,),) = select(connection, query, space.number) or [(space.slots,)]
    waiting = (space.slots - first) * space.row_bytes + rows.nbytes
    is_small = rows.nbytes <= SMALL_BYTES and waiting <= UNSYNCED_BYTES
    if is_small and vectors.append_unsynced(space.slots, rows):
        query = "INSERT INTO unsynced (space, slot, rows) VALUES (?, ?, ?)"
        connection.execute(query, (space.number, space.slots, rows.tobytes()))
        return
    if first < space.slots:
        # A power cut may have lost the unsynced rows. Or the system may have failed to write them,
        # and reported that to another process.
        vectors.rewrite(*read_unsynced(connection, space))
    vectors.append(space.slots, rows)
    if first < space.slots:
        connection.execute("DELETE FROM unsynced WHERE space = ?", (space.number,))


def disown(connection: apsw.Connection, space: Space, generation: int, slots: Ints) -> None:
    """Mark slots as lost, because the vectors of their points are deleted. Each must be the last
    slot of its point. To mark a slot, its owner's pk is stored inverted (~pk)."""
    if not len(slots):
        return
    block_rows = rows_per_block(space.row_bytes)
    key = "WHERE space = ? AND generation = ? AND block = ?"
    for block in distinct(slots // block_rows).tolist():
        block_key = (space.number, generation, block)
        ((blob,),) = select(connection, f"SELECT owners FROM blocks {key}", *block_key)
        owners = np.frombuffer(blob, "<i8").copy()
        places = slots[slots // block_rows == block] % block_rows
        owners[places] = np.minimum(owners[places], ~owners[places])
        connection.execute(f"UPDATE blocks SET owners = ? {key}", (owners.tobytes(), *block_key))


def _last_block(
    connection: apsw.Connection, number: int, generation: int
) -> tuple[int, int, bytes]:
    """The number, checksum and owners of the last block. The number is -1 if there is no block."""
    query = """SELECT block, checksum, owners FROM blocks WHERE space = ? AND generation = ?
               ORDER BY block DESC LIMIT 1"""
    rows = select(connection, query, number, generation)
    return (*rows[0],) if rows else (-1, 0, b"")
