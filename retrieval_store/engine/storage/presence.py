"""Which pks exist: bitmaps in points.sqlite, one for each 8,192 pks.

They tell in a millisecond which of a million points are there, where a scan of the points would
read all their documents. pks are never reused, so a chunk whose points are all deleted is left out
for good.
"""

import apsw
import numpy as np

from retrieval_store.base.arrays import Bools, Ints
from retrieval_store.engine.database.failures import ContradictionError
from retrieval_store.engine.database.transactions import select

CHUNK = 8192


def present_pks(connection: apsw.Connection, first: int, stop: int) -> Ints:
    """The pks that exist in first … stop-1, ascending."""
    query = "SELECT chunk, bitmap FROM presence WHERE chunk BETWEEN ? AND ? ORDER BY chunk"
    chunks = select(connection, query, first // CHUNK, stop // CHUNK)
    parts = [np.flatnonzero(_bits(bitmap)) + chunk * CHUNK for chunk, bitmap in chunks]
    pks = np.concatenate([np.empty(0, np.int64), *parts])
    return pks[(pks >= first) & (pks < stop)]


def count_present(connection: apsw.Connection) -> int:
    """How many pks exist."""
    bitmaps = select(connection, "SELECT bitmap FROM presence")
    return sum(int(np.count_nonzero(_bits(bitmap))) for (bitmap,) in bitmaps)


def are_present(connection: apsw.Connection, pks: Ints) -> Bools:
    """For each pk whether it exists."""
    _, places, bits = _load(connection, pks)
    present: Bools = bits[places, pks % CHUNK]
    return present


def set_present(connection: apsw.Connection, pks: Ints, present: bool) -> None:
    """Note that the pks exist, or that they don't any more."""
    chunks, places, bits = _load(connection, pks)
    bits[places, pks % CHUNK] = present
    bitmaps = np.packbits(bits, axis=1)
    kept = bits.any(axis=1)
    connection.executemany(
        "INSERT OR REPLACE INTO presence VALUES (?, ?)",
        [(int(chunks[i]), bitmaps[i].tobytes()) for i in np.flatnonzero(kept)],
    )
    connection.executemany(
        "DELETE FROM presence WHERE chunk = ?", [(int(chunk),) for chunk in chunks[~kept]]
    )


def _load(connection: apsw.Connection, pks: Ints) -> tuple[Ints, Ints, Bools]:
    """The chunks that the pks lie in, ascending; for each pk which of them; and their bits."""
    chunks, places = np.unique(pks // CHUNK, return_inverse=True)
    bits = np.zeros((len(chunks), CHUNK), np.bool_)
    if len(chunks):
        query = "SELECT chunk, bitmap FROM presence WHERE chunk IN carray(?)"
        for chunk, bitmap in select(connection, query, apsw.carray(chunks)):
            bits[np.searchsorted(chunks, chunk)] = _bits(bitmap)
    return chunks, places, bits


def _bits(bitmap: bytes) -> Bools:
    if len(bitmap) != CHUNK // 8:
        raise ContradictionError(
            f"a bitmap of points has {len(bitmap)} bytes instead of {CHUNK // 8}"
        )
    return np.unpackbits(np.frombuffer(bitmap, np.uint8)).view(np.bool_)
