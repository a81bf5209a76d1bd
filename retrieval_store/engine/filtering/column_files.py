"""Columns in files: which value each point has at one path, as JSON.

A file has the pks of the points and their values; what finds rows by value is made of them when it
is read, in a third of the time that finding them in the payloads takes. So a file can lie about a
point, but not make a column that contradicts itself. Whatever is wrong with one, and isn't found by
its checksum, is a ValueError here.
"""

import hashlib
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from retrieval_store.base.arrays import Ints
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.json_values import is_unicode
from retrieval_store.engine.filtering.kept import FilterView
from retrieval_store.engine.state.saved import saved as saved_file
from retrieval_store.engine.state.saved import stale_since
from retrieval_store.engine.state.state import rows_of
from retrieval_store.engine.storage.derived import DerivedFile
from retrieval_store.engine.storage.schema import PAYLOAD
from retrieval_store.filters.expression import PayloadPath

MAGIC = b"RScolum2"
KIND = "columns"


@dataclass(frozen=True, slots=True)
class Values:
    """What some points have at a path. rows: of the state, ascending; stale: rows that were written
    since, or that the writer didn't know."""

    rows: Ints
    values: list[Any]
    stale: Ints


def may_have_file(path: PayloadPath) -> bool:
    """Whether a payload can have something at the path; others can't even be written down."""
    return all(isinstance(key, str) and is_unicode(key) for key in path)


def file_key(path: PayloadPath) -> str:
    """Under which key the file of this column is recorded."""
    return f"{KIND}.{hashlib.sha256(orjson.dumps(path)).hexdigest()[:16]}"


def encoded(path: PayloadPath, pks: Ints, values: list[Any]) -> bytes:
    """What is in the file of a column: the values of the points with these pks."""
    header = orjson.dumps([path, len(pks)])
    points = np.ascontiguousarray(pks, "<i8").tobytes()
    return b"".join(
        [MAGIC, len(header).to_bytes(8, "little"), header, points, orjson.dumps(values)]
    )


def read(file: Path, view: FilterView, seq: int, covered: int) -> tuple[PayloadPath, Values]:
    """What was encoded at the write `seq`, when `covered` was the next pk, for this state."""
    data = file.read_bytes()
    if not data.startswith(MAGIC):
        raise ValueError(f"{file} is no file of a column")
    start = len(MAGIC) + 8
    stop = start + int.from_bytes(data[len(MAGIC) : start], "little")
    path, count = orjson.loads(data[start:stop])
    pks = np.frombuffer(data, "<i8", count, stop)
    values = orjson.loads(memoryview(data)[stop + pks.nbytes :])
    if type(values) is not list or len(values) != count or (np.diff(pks) <= 0).any():
        raise ValueError(f"{file} has other values than points")
    rows = rows_of(view.state.pks, pks)
    there = rows >= 0  # others were deleted since
    chosen = values if there.all() else [*compress(values, there)]
    return tuple(path), Values(rows[there], chosen, stale_since(view, seq, covered, PAYLOAD))


def saved(view: FilterView, path: PayloadPath) -> Values | None:
    """What a process has saved of this column, if it is of use."""

    def values_in(file: Path, found: DerivedFile) -> Values:
        of_path, values = read(file, view, found.seq, found.covered)
        if of_path != path:
            raise ValueError(f"{file} is the column of another key")
        return values

    if not may_have_file(path):
        return None
    rejecting = partial(view.kept.columns.demand.reject, path)
    return saved_file(view, file_key(path), "a column", values_in, rejecting)
