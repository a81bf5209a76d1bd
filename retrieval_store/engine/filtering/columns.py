"""Columns: indexes of payload values, in memory and in files: which points have which values at a
path.

A column's reading (see `filters.columns`) says which values it contains. A column is updated as a
`state.caches.Layers`. A payload that several columns need is read once for all columns.

The columns of a path that are in use are saved in a file of arrays, to be mapped. It contains the
pks of the points, and the postings of each reading that is derived from the values at the path
(`ValuesAt.siblings`). Postings consist of the distinct strings (in the header), the distinct
numbers of each type, and for each of these values the points that have it. Points are numbered by
their position among the pks. If no points were deleted since, the reader's rows have the same
numbers, and the arrays of the file are used directly.

Before a file is used, it is checked for contradictions and for numbers that would make a read go
out of bounds. Values and rows must ascend, and the groups of rows must follow one another; the
value of each row is computed from the groups. So a forged file can have wrong values, but can't
produce a column that contradicts itself. This module raises ValueError for a fault that the
checksum doesn't reveal.
"""

import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import compress
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import apsw
import numpy as np
import orjson

from retrieval_store.base import budget
from retrieval_store.base.arrays import Bools, Ints, union
from retrieval_store.base.validation import is_unicode
from retrieval_store.engine.filtering.cache import FilterView
from retrieval_store.engine.filtering.segments import (
    DistinctNumbers,
    Postings,
    PostingsBuilder,
    RowsInRuns,
    Segment,
    ValueSegment,
    build_segment,
    bytes_of_texts,
    groups_of_file,
    keys_of,
    refuse_disorder,
)
from retrieval_store.engine.state import mapped_files
from retrieval_store.engine.state.caches import (
    NOTHING_STALE,
    Layers,
    every_row,
    plan_refresh,
    refresh_layers,
)
from retrieval_store.engine.state.mapped_files import Array, CheckCancelled, PointsFile
from retrieval_store.engine.state.state import rows_of
from retrieval_store.engine.storage.derived import DerivedFile, find_all
from retrieval_store.engine.storage.log import key_number
from retrieval_store.engine.storage.records import (
    ROWS_AT_ONCE,
    decode_payloads,
    has_anything,
    read_exactly,
    read_records,
    read_sparsely,
    read_values,
)
from retrieval_store.engine.storage.schema import PAYLOAD
from retrieval_store.filters.columns import NOTHING, Column, ValuesAt, read_items
from retrieval_store.filters.leaves import ColumnLeaf, RowSet
from retrieval_store.filters.paths import FieldPath, JsonPath, PayloadPath, first_keys

# Columns are saved from this many points and this many uses on.
COLUMNS_WORTH, USES_WORTH = 20_000, 2
# The column files of a collection can take MAX_BYTES, or BYTES_EACH per point if that is more.
MAX_BYTES, BYTES_EACH = 256 << 20, 64
# From this many points on, columns of usual keys are saved before they are used:
AHEAD_WORTH = 100_000
KEYS_AHEAD, SAMPLED, USUAL = 8, 1_024, 4  # at most 8 keys, which one in four of 1,024 payloads has
# Up to this many stale rows, all cached columns are updated at the same time after a write.
FOLLOWED = 1_024
SHORT_TEXT = 64  # characters of a string that counts as short
FEW_KEYS = 64  # every request can name this many keys
# If there are more keys, whole payloads are parsed, instead of extracting each key in SQL.
MANY_KEYS = 16
KeptColumn: TypeAlias = Layers[Segment]
Columns: TypeAlias = dict[Column, KeptColumn]


def columns_at(view: FilterView, columns: Iterable[Column]) -> Columns:
    """The columns from the cache; they may have stale rows. Raises an error if the request loads so
    many columns that reading them would take minutes."""
    seq, rows, all_columns = view.state.head.seq, len(view.state.pks), [*columns]
    if len(all_columns) > FEW_KEYS:
        budget.check_steps(len(all_columns) * rows, "keys in a filter", len(all_columns))
    return {column: view.caches.columns.at(column, seq, rows) for column in all_columns}


def current_columns(view: FilterView, columns: Iterable[Column]) -> Columns:
    """The columns, updated so that they have no stale rows. If a column is rebuilt, its siblings
    (`ValuesAt.siblings`) are built from the same values."""
    cache, seq, rows = view.caches.columns, view.state.head.seq, len(view.state.pks)
    current = columns_at(view, columns)
    has_all = not rows or not _unbuilt(current)
    if has_all and not any(len(layers.stale) for layers in current.values()):
        return current
    budget.may_block()  # because this may wait for another thread that builds columns
    with cache.refreshing:  # threads that wait for this lock find the columns built
        current = columns_at(view, current)
        anew = [column for column in _unbuilt(current) if isinstance(column, ValuesAt)]
        current |= _unbuilt(
            columns_at(view, (sibling for column in anew for sibling in column.siblings))
        )
        current |= _saved_columns(view, [*_unbuilt(current)])
        plans = {
            key: plan_refresh(layers, rows) for key, layers in current.items() if len(layers.stale)
        }
        if plans and max(len(layers.stale) for layers in current.values()) <= FOLLOWED:
            followed = _other_stale_columns(view, current)
            plans |= {key: plan_refresh(layers, rows) for key, layers in followed.items()}
            current |= followed
        lacking = {column: stale for column, (_, stale) in plans.items()}
        for column, segment in _read_segments(view, lacking):
            current[column] = refresh_layers(current[column], plans[column][0], segment)
            cache.demand.pop(hash(keys_of(column)), None)
        for column, layers in current.items():
            cache.keep(column, seq, layers)
    return current


def _other_stale_columns(view: FilterView, current: Columns) -> Columns:
    """Cached columns that aren't among the current ones, and have a few stale rows, but not many.
    (The cache also contains labels of groups, which aren't columns.)"""
    cache, seq, rows = view.caches.columns, view.state.head.seq, len(view.state.pks)
    kept_columns = {
        column: layers
        for column in cache.nonempty_keys()
        if isinstance(column, Column)
        and column not in current
        and (layers := cache.find(column, seq, rows)) is not None
    }
    return {
        key: layers for key, layers in kept_columns.items() if 0 < len(layers.stale) <= FOLLOWED
    }


def _unbuilt(columns: Columns) -> Columns:
    return {column: layers for column, layers in columns.items() if not layers.segments}


def _read_segments(
    view: FilterView, lacking: Mapping[Column, Ints]
) -> Iterator[tuple[Column, Segment]]:
    """For each column, yield a segment with the rows that the column lacks. Payloads are read once
    for all columns: reading one more key of a payload costs next to nothing."""
    all_rows = reduce(_union, lacking.values(), NOTHING_STALE)
    all_rows, is_counted = _shared_rows(view, all_rows[view.state.alive[all_rows]])
    read = _Read(view.connection, view.state.pks[all_rows], [*lacking])
    for column, stale in lacking.items():
        if len(stale) < len(all_rows):
            is_stale = np.isin(all_rows, stale)
            yield column, read.segment(column, all_rows[is_stale], is_stale)
            continue
        segment = read.segment(column, all_rows)
        if is_counted and isinstance(segment, ValueSegment):
            segment = replace(segment, shares=True)
        yield column, segment


def _shared_rows(view: FilterView, rows: Ints) -> tuple[Ints, bool]:
    """The rows, and whether an earlier column already counts the bytes of their array. For the rows
    of all existing points, the same array is returned each time, so that columns share one
    array."""
    if len(rows) < view.state.count:
        return rows, False
    before = view.caches.living
    if before and np.array_equal(before[0], rows):
        return before[0], True
    before[:] = [rows]
    return rows, False


class _Read:
    """The payload values of some points, at the paths of some columns. Columns whose paths begin
    with the same keys share one lookup in the payload."""

    def __init__(self, connection: apsw.Connection, pks: Ints, columns: Sequence[Column]) -> None:
        self._connection, self._pks = connection, pks
        by_key = [*dict.fromkeys(c.path for c in columns if not isinstance(c.path, JsonPath))]
        exact = [*dict.fromkeys(keys_of(c) for c in columns if isinstance(c.path, JsonPath))]
        few, sparse = ([], by_key) if len(by_key) > MANY_KEYS else (by_key, [])
        self._few = dict(zip(few, read_values(connection, pks, few), strict=True))
        self._sparse = dict(zip(sparse, read_sparsely(connection, pks, sparse), strict=True))
        self._exact = dict(zip(exact, read_exactly(connection, pks, exact), strict=True))
        # The types of the values that were read.
        self._types: dict[tuple[type, PayloadPath], set[type]] = {}

    def segment(self, column: Column, rows: Ints, is_chosen: Bools | None = None) -> Segment:
        """The segment of a column for these rows. is_chosen: (points,) bool, which of the points
        that were read have these rows; all of them by default."""
        if column.path in self._sparse:
            places, place_values = self._sparse[column.path]
            if is_chosen is not None:
                are_chosen = is_chosen[places]
                places, place_values = (
                    (np.cumsum(is_chosen) - 1)[places[are_chosen]],
                    [*compress(place_values, are_chosen)],
                )
            return build_segment(column, rows, place_values, rows[places])
        values = self._values(column)
        key = type(column.path), keys_of(column)
        types = self._types.get(key)
        if types is None:
            types = self._types[key] = set(map(type, values))
        values = values if is_chosen is None else [*compress(values, is_chosen)]
        return build_segment(column, rows, values, types=types)

    def _values(self, column: Column) -> list[Any]:
        """For each point, the value that is found by following the keys at the beginning of the
        column's path."""
        if not isinstance(column.path, JsonPath):
            return self._few[column.path]
        values = self._exact[column.path.keys]
        # Distinguish null from a missing value.
        tells = isinstance(column, ValuesAt) and column.kind == "null"
        if not tells or column.path.beyond or None not in values:
            return values
        are_there = has_anything(self._connection, self._pks, column.path.keys)
        return [
            value if is_there else NOTHING
            for value, is_there in zip(values, are_there, strict=True)
        ]


def keys_of_column(path: FieldPath) -> frozenset[int]:
    """The numbers of the payload keys from which a column of this path is built."""
    return frozenset(map(key_number, first_keys(path)))


def _union(rows: Ints, other_rows: Ints) -> Ints:
    """The union of two arrays of rows. Usually the two are equal, so they are compared first, which
    is faster than sorting."""
    if not len(rows) or np.array_equal(rows, other_rows):
        return other_rows
    return union(rows, other_rows)


def _saved_columns(view: FilterView, columns: Sequence[Column]) -> Columns:
    """Load the columns that are saved in files. One file contains all columns of a path. There are
    no files for small collections, nor for paths of the type `JsonPath`."""
    if view.files is None or view.state.count < COLUMNS_WORTH:
        return {}

    by_key = (column.path for column in columns if not isinstance(column.path, JsonPath))
    saved_columns: Columns = {}
    for path in dict.fromkeys(by_key):
        columns_there = ColumnFile(path).read_saved(view) if may_have_file(path) else None
        if columns_there is not None:
            stale, memory = columns_there.stale, columns_there.memory
            for column, segment in columns_there.by_column.items():
                saved_columns[column] = Layers((segment,), stale, memory)
    return {column: saved_columns[column] for column in columns if column in saved_columns}


def note_use(view: FilterView, path: FieldPath, times: int = 1) -> None:
    """Count uses of the columns of a path. From the second use on, they are marked to be saved if
    the collection is large. Columns of paths of the type `JsonPath` have no files."""
    if isinstance(path, JsonPath):
        return
    uses = view.caches.uses
    is_new = uses.get(path, 0) < USES_WORTH
    if is_new and uses.spend(path, times) >= USES_WORTH and view.state.count >= COLUMNS_WORTH:
        view.caches.unsaved.add(path)


def columns_of_few(view: FilterView, rows: Ints, columns: Sequence[Column]) -> Columns:
    """Temporary columns of only these rows, numbered from 0. They aren't cached."""
    read, places = _Read(view.connection, view.state.pks[rows], columns), np.arange(len(rows))
    return {column: Layers((read.segment(column, places),), NOTHING_STALE) for column in columns}


def row_sets_of(column: KeptColumn, leaf: ColumnLeaf) -> list[RowSet] | None:
    """For each segment of the column, the rows that fulfil the leaf condition; None if a column
    can't evaluate the leaf."""
    # A leaf calls the method of the segment (`segments.py`) that evaluates it, such as `between`.
    row_sets = [leaf.find_rows(segment) for segment in column.segments]
    known_sets = [rows for rows in row_sets if rows is not None]
    return known_sets if len(known_sets) == len(row_sets) else None


def mask_of(column: KeptColumn, row_sets: Sequence[RowSet], rows: int) -> Bools:
    """A mask of the rows in these row sets, one set for each segment of the column: (rows,) bool.
    The mask is undefined for stale rows."""
    height = max([rows, *(int(s.rows[-1]) + 1 for s in column.segments if len(s.rows))])
    mask = np.zeros(height, np.bool_)
    for i, (segment, row_set) in enumerate(zip(column.segments, row_sets, strict=True)):
        if i:
            mask[_in_one_piece(segment.rows)] = False
        row_set.mark(mask)
    return mask[:rows]


def column_mask(column: KeptColumn, leaf: ColumnLeaf, rows: int) -> Bools | None:
    """Which rows fulfil the leaf condition: (rows,) bool; undefined for stale rows. None if a
    column can't evaluate the leaf."""
    row_sets = row_sets_of(column, leaf)
    return None if row_sets is None else mask_of(column, row_sets, rows)


def column_count(column: KeptColumn, leaf: ColumnLeaf, dead_rows: Ints, rows: int) -> int | None:
    """How many rows fulfil the leaf condition, counted from the postings. dead_rows: deleted rows,
    ascending, which aren't counted. None if the postings can't provide the count, or if rows are
    stale."""
    if len(column.stale):
        return None
    total = 0
    for segment, above in zip(column.segments, column.above(), strict=True):
        is_known = not len(segment.rows) or int(segment.rows[-1]) < rows
        if not is_known or not isinstance(segment, ValueSegment):
            return None
        row_set = leaf.find_rows(segment)
        if not isinstance(row_set, RowsInRuns):
            return None
        count = row_set.count(dead_rows if above is None else union(above, dead_rows))
        if count is None:
            return None
        total += count
    return total if column.segments else None


def _in_one_piece(rows: Ints) -> slice | Ints:
    """A slice of the rows if they are consecutive, otherwise the rows unchanged."""
    if len(rows) and int(rows[-1] - rows[0]) + 1 == len(rows):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


MAGIC = b"RScolum3"
MAGICS_BEFORE = (b"RScolum2",)  # first bytes of earlier formats, in which columns weren't mapped
KIND = "columns"
_NUMBERS = ("<i8", "<u8", "<f8")  # the distinct numbers of a reading, by type
_TYPES = (*_NUMBERS, "<i4", "<i4")  # then rows by the number of their value, and where each begins


@dataclass(frozen=True, slots=True)
class SavedColumns:
    """The columns of a path, read from a file. by_column: a segment of each column. stale: rows
    that were written after the file, or that were unknown to the file's writer. memory: the memory
    map that contains the arrays."""

    path: PayloadPath
    by_column: dict[ValuesAt, ValueSegment]
    stale: Ints
    memory: mmap.mmap


@dataclass(frozen=True, slots=True)
class ColumnFile(PointsFile[FilterView, SavedColumns]):
    """The file that contains the columns of a path."""

    what: ClassVar[str] = "a column"
    payload_path: PayloadPath

    @classmethod
    def in_file(cls, path: Path) -> "ColumnFile":
        """The ColumnFile for the payload path in the header of this file."""
        path_keys, _ = mapped_files.read_arrays(path, MAGIC, MAGICS_BEFORE).header
        return cls(_check_path(path_keys))

    @property
    def parts(self) -> int:
        return PAYLOAD

    @property
    def keys(self) -> frozenset[int]:
        return keys_of_column(self.payload_path)

    @property
    def key(self) -> str:
        from hashlib import sha256  # imported here because that takes longer than opening a store

        return f"{KIND}.{sha256(orjson.dumps(self.payload_path)).hexdigest()[:16]}"

    def writer(
        self, view: FilterView, check_cancelled: CheckCancelled
    ) -> Callable[[Path], int] | None:
        """A function that writes the file; None if there is no room for the file. The values are
        read from the payloads again, so that the file contains only values of existing points."""
        pks = view.state.pks[view.state.alive]
        pieces = encode_column(
            self.payload_path, pks, _values_by_pieces(view, self.payload_path, pks, check_cancelled)
        )
        others = [file.size for file in find_all(view.connection, KIND) if file.key != self.key]
        if sum(others) + sum(map(len, pieces)) > max_bytes(len(pks)):
            return None
        return partial(_fill, pieces=pieces, covered=view.state.head.next_pk)

    def unmap(self, view: FilterView) -> None:
        view.caches.columns.unmap(columns_of(self.payload_path))

    def read(self, path: Path, derived_file: DerivedFile, source: FilterView) -> SavedColumns:
        stale = self.stale_rows(source, derived_file)
        content = mapped_files.read_arrays(path, MAGIC, MAGICS_BEFORE)
        payload_path, texts = content.header
        columns = columns_of(_check_path(payload_path))
        pks, *arrays = content.unpack("<i8", *_TYPES * len(columns))
        if (
            tuple(payload_path) != self.payload_path
            or len(texts) != len(columns)
            or (pks[1:] <= pks[:-1]).any()
        ):
            raise ValueError(f"{path} has other values than points, or those at another path")
        rows = _current_rows(source.state.pks, pks)
        living = every_row(len(pks)) if rows is None else rows[rows >= 0]
        by_column = {}
        for i, column in enumerate(columns):
            column_arrays = arrays[i * len(_TYPES) : (i + 1) * len(_TYPES)]
            postings = _postings(texts[i], column_arrays, len(pks), rows)
            by_column[column] = ValueSegment(living, postings, column.loose, living[:0], i > 0)
        return SavedColumns(self.payload_path, by_column, stale, content.memory)


def _fill(path: Path, pieces: Sequence[mapped_files.Piece], covered: int) -> int:
    mapped_files.write_arrays(path, iter(pieces), lambda: None)
    return covered


def may_have_file(path: PayloadPath) -> bool:
    """Whether the columns of this path can have a file. If a key of the path isn't valid Unicode,
    no payload can have a value there."""
    return all(isinstance(key, str) and is_unicode(key) for key in path)


def columns_of(path: PayloadPath) -> tuple[ValuesAt, ...]:
    """The columns in the file of this path."""
    return ValuesAt(path, "whole").siblings


def usual_keys(view: FilterView) -> list[PayloadPath]:
    """The keys of a large collection at which many payloads have a short scalar, judged by a
    sample. Their columns are saved before the first use, because otherwise the first filter on a
    key would read all payloads."""
    pks = view.state.pks[view.state.alive]
    if len(pks) < AHEAD_WORTH:
        return []
    values_by_key: dict[str, list[Any]] = {}
    sample = pks[:: max(1, len(pks) // SAMPLED)][:SAMPLED]
    for piece in read_records(view.connection, "payload", sample):
        for payload in decode_payloads(blob for (blob,) in piece):
            for key, value in (payload or {}).items():
                values_by_key.setdefault(key, []).append(value)
    usual_paths = [key for key, values in values_by_key.items() if _is_usual(values, len(sample))]
    return [(key,) for key in usual_paths[:KEYS_AHEAD] if may_have_file((key,))]


def _is_usual(values: Sequence[Any], sampled: int) -> bool:
    """Whether filters on a key are likely. values: the key's values in a sample of payloads.
    Filters by equality or by range are likely for numbers and short strings. If nearly all strings
    are different, they name single points, and filters are unlikely."""
    numbers = sum(type(value) in (bool, int, float) for value in values)
    texts = [value for value in values if type(value) is str and len(value) <= SHORT_TEXT]
    few_texts = 8 * len(set(texts)) <= 7 * len(texts)
    return numbers + (len(texts) if few_texts else 0) >= sampled // USUAL


def max_bytes(points: int) -> int:
    """The limit on the total size of all column files of a collection, in bytes."""
    return max(MAX_BYTES, BYTES_EACH * points)


def _values_by_pieces(
    view: FilterView, path: PayloadPath, pks: Ints, check_cancelled: CheckCancelled
) -> Iterator[list[Any]]:
    for start in range(0, len(pks), ROWS_AT_ONCE):
        check_cancelled()
        (values,) = read_values(view.connection, pks[start : start + ROWS_AT_ONCE], [path])
        yield values


def encode_column(
    path: PayloadPath, pks: Ints, values: Iterable[Sequence[Any]]
) -> list[mapped_files.Piece]:
    """The content of the file of a path, piece by piece. pks: the points in the file; values: the
    values of these points, also piece by piece."""
    columns, start = columns_of(path), 0
    builders = [PostingsBuilder() for _ in columns]
    for piece in values:
        rows, types = np.arange(start, start + len(piece)), set(map(type, piece))
        for column, builder in zip(columns, builders, strict=True):
            counts, items = read_items(column.kind, piece, types)
            builder.add(rows if counts is None else np.repeat(rows, counts), items)
        start += len(piece)
    texts, arrays = [], [pks]
    for builder in builders:
        postings = builder.postings()
        texts.append([*postings.texts])
        arrays += _arrays(postings)
    return [*mapped_files.pieces(MAGIC, [path, texts], arrays)]


def _arrays(postings: Postings) -> Iterator[Array]:
    by_type = {part.values.dtype: part.values for part in postings.numbers}
    for dtype in map(np.dtype, _NUMBERS):
        yield by_type.get(dtype, np.empty(0, dtype))
    yield postings.groups.rows
    yield postings.groups.offsets


def _check_path(path: object) -> PayloadPath:
    if type(path) is not list or not set(map(type, path)) <= {str}:
        raise ValueError("it has no path of keys")
    return tuple(path)


def _current_rows(pks: Ints, written: Ints) -> Ints | None:
    """The current row of each point in the file: (n,), -1 for a deleted point. Returns None if the
    points of the file are still the first rows, in the same order. written: the pks of the points
    in the file; pks: the pks of all rows."""
    if np.array_equal(pks[: len(written)], written):
        return None
    return rows_of(pks, written)


def _postings(
    texts: object, arrays: Sequence[Array], height: int, rows_here: Ints | None
) -> Postings:
    """The postings of one column, from its strings and arrays in a file. height: how many points
    are in the file. rows_here: the current row of each of these points, None if the rows are
    unchanged."""
    *numbers, rows, offsets = arrays
    if type(texts) is not list or not set(map(type, texts)) <= {str}:
        raise ValueError("it has strings that are none")
    by_text = {text: number for number, text in enumerate(texts)}
    parts, count = [], len(texts)
    for values in numbers:
        if not (values[1:] > values[:-1]).all():
            raise ValueError("its numbers are out of order")
        if len(values):
            parts.append(DistinctNumbers(values, count))
            count += len(values)
    # False and true are the last two values.
    if len(by_text) != len(texts) or len(offsets) != count + 3:
        raise ValueError("it has other groups than values")
    refuse_disorder(rows, offsets, height)
    if rows_here is not None:
        rows = rows_here[rows].astype(np.int32)
        is_present = rows >= 0  # the other rows were deleted since
        offsets = np.append(0, np.cumsum(is_present))[offsets].astype(np.int32)
        rows = rows[is_present]
    groups = groups_of_file(rows, offsets)
    return Postings(by_text, tuple(parts), count, groups, bytes_of_texts(by_text))
