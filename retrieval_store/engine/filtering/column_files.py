"""Columns in files: what finds points by their values at a path of keys, as arrays to be mapped.

A file has the pks of the points, and for each reading that is derived from the values at a path
(`ValuesAt.siblings`) its postings: the distinct strings in the header, the distinct numbers of each
type, and the points by the number of their value. Points are numbered by their place among the pks;
where the reader numbers its rows alike, as it does unless points were deleted since, the arrays are
used as they lie in the file.

What a file says is looked at before it is used, as far as it could be read outside of its bounds or
contradict itself: numbers and rows ascend, groups of rows follow one another, and which number a
row has is worked out of them. So a file can lie about a point, but not make a column that
contradicts itself. Whatever is wrong with one, and isn't found by its checksum, is a ValueError
here.
"""

import hashlib
import mmap
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from retrieval_store.base.arrays import Ints
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import is_unicode
from retrieval_store.engine.filtering.groups import refuse_disorder, regrouped
from retrieval_store.engine.filtering.kept import FilterView
from retrieval_store.engine.filtering.postings import Numbers, Postings, bytes_of_texts
from retrieval_store.engine.filtering.segments import ValueSegment, build_segment
from retrieval_store.engine.state import array_files
from retrieval_store.engine.state.array_files import Array
from retrieval_store.engine.state.saved import saved as saved_file
from retrieval_store.engine.state.saved import stale_since
from retrieval_store.engine.state.state import rows_of
from retrieval_store.engine.storage.derived import DerivedFile
from retrieval_store.engine.storage.schema import PAYLOAD
from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.paths import PayloadPath

MAGIC = b"RScolum3"
MAGICS_BEFORE = (b"RScolum2",)  # of columns as they were before they were mapped
KIND = "columns"
_NUMBERS = ("<i8", "<u8", "<f8")  # the distinct numbers of a reading, by type
_TYPES = (*_NUMBERS, "<i4", "<i4")  # then rows by the number of their value, and where each begins


@dataclass(frozen=True, slots=True)
class SavedColumns:
    """The columns of a path as a file has them. by_column: a segment of each; stale: rows that were
    written since, or that the writer didn't know; memory: the map in which arrays lie."""

    path: PayloadPath
    by_column: dict[ValuesAt, ValueSegment]
    stale: Ints
    memory: mmap.mmap


def may_have_file(path: PayloadPath) -> bool:
    """Whether a payload can have something at the path; others can't even be written down."""
    return all(isinstance(key, str) and is_unicode(key) for key in path)


def file_key(path: PayloadPath) -> str:
    """Under which key the file of these columns is recorded."""
    return f"{KIND}.{hashlib.sha256(orjson.dumps(path)).hexdigest()[:16]}"


def columns_of(path: PayloadPath) -> tuple[ValuesAt, ...]:
    """The columns that are in the file of a path."""
    return ValuesAt(path, "whole").siblings


def encoded(path: PayloadPath, pks: Ints, values: Sequence[Any]) -> list[bytes]:
    """What is in the file of a path, in pieces: of the points with these pks, and these values."""
    rows, types = np.arange(len(pks)), set(map(type, values))
    texts, arrays = [], [pks]
    for column in columns_of(path):
        segment = build_segment(column, rows, values, types=types)
        assert isinstance(segment, ValueSegment)
        texts.append([*segment.values.texts])
        arrays += _arrays(segment.values)
    return [*array_files.pieces(MAGIC, [path, texts], arrays)]


def _arrays(postings: Postings) -> Iterator[Array]:
    by_type = {part.values.dtype: part.values for part in postings.numbers}
    for dtype in map(np.dtype, _NUMBERS):
        yield by_type.get(dtype, np.empty(0, dtype))
    yield postings.groups.rows
    yield postings.groups.offsets


def path_in(file: Path) -> PayloadPath:
    """The path whose columns are in the file, as it says."""
    path, _ = array_files.read(file, MAGIC, MAGICS_BEFORE).header
    return _checked(path)


def _checked(path: object) -> PayloadPath:
    if type(path) is not list or not set(map(type, path)) <= {str}:
        raise ValueError("it has no path of keys")
    return tuple(path)


def read(file: Path, view: FilterView, seq: int, covered: int) -> SavedColumns:
    """What was encoded at the write `seq`, when `covered` was the next pk, for this state."""
    found = array_files.read(file, MAGIC, MAGICS_BEFORE)
    path, texts = _checked(found.header[0]), found.header[1]
    columns = columns_of(path)
    pks, *arrays = found.of_types("<i8", *_TYPES * len(columns))
    if len(texts) != len(columns) or (pks[1:] <= pks[:-1]).any():
        raise ValueError(f"{file} has other values than points")
    rows = _rows_here(view.state.pks, pks)
    living = np.arange(len(pks)) if rows is None else rows[rows >= 0]
    by_column = {}
    for i, column in enumerate(columns):
        its = arrays[i * len(_TYPES) : (i + 1) * len(_TYPES)]
        postings = _postings(texts[i], its, len(pks), rows)
        by_column[column] = ValueSegment(living, postings, column.loose, living[:0], i > 0)
    return SavedColumns(path, by_column, stale_since(view, seq, covered, PAYLOAD), found.memory)


def _rows_here(pks: Ints, written: Ints) -> Ints | None:
    """(n,) the row of each of the points that were written, -1 for those that are gone; None where
    the first of the rows are these points."""
    if np.array_equal(pks[: len(written)], written):
        return None
    return rows_of(pks, written)


def _postings(texts: object, arrays: Sequence[Array], height: int, here: Ints | None) -> Postings:
    """The postings of one reading. height: how many points were written; here: the row of each of
    them, None where it is the same."""
    *numbers, rows, offsets = arrays
    if type(texts) is not list or not set(map(type, texts)) <= {str}:
        raise ValueError("it has strings that are none")
    by_text = {text: number for number, text in enumerate(texts)}
    parts, count = [], len(texts)
    for values in numbers:
        if not (values[1:] > values[:-1]).all():
            raise ValueError("its numbers are out of order")
        if len(values):
            parts.append(Numbers(values, count))
            count += len(values)
    if len(by_text) != len(texts) or len(offsets) != count + 3:  # false and true come last
        raise ValueError("it has other groups than values")
    refuse_disorder(rows, offsets, height)
    if here is not None:
        rows = here[rows].astype(np.int32)
        there = rows >= 0  # others were deleted since
        offsets = np.append(0, np.cumsum(there))[offsets].astype(np.int32)
        rows = rows[there]
    groups = regrouped(rows, offsets)
    return Postings(by_text, tuple(parts), count, groups, bytes_of_texts(by_text))


def saved(view: FilterView, path: PayloadPath) -> SavedColumns | None:
    """What a process has saved of the columns of this path, if it is of use."""

    def columns_in(file: Path, found: DerivedFile) -> SavedColumns:
        columns = read(file, view, found.seq, found.covered)
        if columns.path != path:
            raise ValueError(f"{file} is the column of another key")
        return columns

    if not may_have_file(path):
        return None
    rejecting = partial(view.kept.columns.demand.reject, path)
    return saved_file(view, file_key(path), "a column", columns_in, rejecting)
