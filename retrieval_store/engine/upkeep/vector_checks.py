"""Codes and indexes in files, compared with the vectors that they claim to be made of.

A checksum finds what happened to a file by accident; the author of a forged file gives it the right
one. So each vector is looked at, none is left to chance:

- Codes. What a search relies on is that bounds are bounds. They are worked out in float64, by the
  centre, the seed and the scales of the file, without the compiled part that makes codes: how far
  each vector, rotated, is from what its code stands for, how long that is, and what is told of the
  vector exactly. Codes of another make that keep this are as good.
- Indexes. A class that can tell its vectors (`KnowsVectors`) is asked for all of them; of others
  each stored vector is searched for, and what is found must be as far away as it says. That the
  slots are numbered once each and that no link leads outside is looked at whenever a graph is read
  (`indexes.hnsw`). Which links there are isn't compared: a graph that was made again has others, so
  links that were cut out aren't found here (docs/security.md says so).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from retrieval_store.base.arrays import (
    Bools,
    Floats,
    Ints,
    Matrix,
    Metric,
    Stored,
    as_float32,
    distinct,
)
from retrieval_store.engine.codes.files import OlderError
from retrieval_store.engine.codes.segments import FILE_SEGMENTS, SEGMENT, SpaceCodes
from retrieval_store.engine.database.failures import CORRUPTION_ERRORS
from retrieval_store.engine.nearest.indexing import SpaceIndex
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.engine.storage.derived import DerivedFile, forged_file_error, path_of
from retrieval_store.errors import PluginError
from retrieval_store.indexes import KnowsVectors, VectorIndex
from retrieval_store.indexes.exact import (
    SAFE_LENGTHS,
    UNIT_ROUNDOFF,
    exact_distances,
)
from retrieval_store.indexes.native import BLOCK
from retrieval_store.indexes.quantized import Codes, Frame

ROWS_AT_ONCE = 2_048  # whole blocks
LOOSE = 1.001  # bounds may be larger than what they bound, but not by more …
ROUNDED = 2e-5  # … nor than this share of the vector's length
CELLS_AT_ONCE = 4_000_000  # numbers of vectors that are compared with those of an index
SEARCHED_AT_ONCE = 1_000  # vectors that an index is searched for
CANDIDATES = 10  # that are asked for, of each


def refuse_false_codes(
    directory: Path, space: SpaceState, codes: SpaceCodes, number: int, made: DerivedFile
) -> None:
    """Raise DamagedError unless the file, whose checksum is right, has codes of these vectors."""
    try:
        for at, found in enumerate(codes.read(directory, made).segments):
            _refuse_wrong_codes(found, space, (number * FILE_SEGMENTS + at) * SEGMENT)
    except OlderError:
        return  # they are made anew when they are wanted
    except ValueError as error:
        raise forged_file_error(path_of(directory, made), error) from error


def _refuse_wrong_codes(found: Codes, space: SpaceState, first: int) -> None:
    slots = np.arange(first, first + SEGMENT)
    if slots[-1] >= space.space.slots:
        raise ValueError(f"it has codes of more than {space.space.slots} vectors")
    rows = space.vectors.rows(space.space.slots)
    space.vectors.admit(rows, space.checksums, slots)
    for start in range(0, SEGMENT, ROWS_AT_ONCE):
        these = slots[start : start + ROWS_AT_ONCE]
        if not _holds(found, start, as_float32(rows[these]).astype(np.float64)).all():
            raise ValueError("it has bounds that don't hold for its vectors")


def _holds(found: Codes, start: int, vectors: Floats) -> Bools:
    """Whether what is told of some rows, from the one at `start` on, is so, and bounds are no
    looser than need be."""
    some, count = slice(start, start + len(vectors)), len(vectors)
    blocks = slice(start // BLOCK, -(-(start + count) // BLOCK))
    told = found.rows[blocks].astype(np.float64).transpose(1, 0, 2).reshape(4, -1)[:, :count]
    scales, residuals, sides, reaches = told
    own, lengths, good = _coded(vectors, found.frame, sides)
    size = _length(own)
    turned = rotated(own, found.frame)
    in_rows = found.high[blocks].transpose(0, 2, 1, 3).reshape(-1, *found.low.shape[1:])
    high = _numbers(in_rows[:count], own.shape[1])
    low = _numbers(found.low[some], own.shape[1])
    upper = (high - 7.5) * scales[:, None]
    whole = (16 * high + low - 127.5) * (scales[:, None] / 16)
    slack = ROUNDED * (size + lengths + 1e-20)
    for meant, bounds in ((upper, residuals), (whole, found.finer[some].astype(np.float64))):
        far, long = _length(turned - meant), _length(meant)
        good &= (far <= bounds) & (long <= reaches)
        good &= np.isinf(bounds) | (bounds <= far * LOOSE + slack)
    longest = np.maximum(_length(upper), _length(whole))
    good &= reaches <= longest * LOOSE + slack
    good |= np.isinf(residuals) & np.isinf(found.finer[some])
    return good


def _coded(vectors: Floats, frame: Frame, sides: Floats) -> tuple[Floats, Floats, Bools]:
    """What is coded of some rows before it is rotated, given what is told of them exactly; their
    lengths; and whether that is so."""
    lengths, centre = _length(vectors), frame.centre.astype(np.float64)
    safe = (lengths >= SAFE_LENGTHS[0]) & (lengths <= SAFE_LENGTHS[1])
    rows = np.where(safe[:, None], vectors, 0.0)
    if frame.metric == "l2":
        own = rows - centre
        half_squared_norms = _length(own) ** 2 / 2
        rounding = 2 * UNIT_ROUNDOFF * half_squared_norms + 1e-40
        return own, lengths, np.abs(sides - half_squared_norms) <= rounding
    if frame.metric == "cosine":
        rows = np.divide(rows, lengths[:, None], out=np.zeros_like(rows), where=safe[:, None])
    shares = rows @ centre / max(float(centre @ centre), 1e-300)
    near = np.abs(sides - shares) <= 2 * UNIT_ROUNDOFF * np.abs(shares) + 1e-12 * _length(rows)
    return rows - np.outer(sides, centre), lengths, near


def rotated(rows: Floats, frame: Frame) -> Floats:
    """(n, dim) rows turned as those of a frame are before they are coded."""
    dimension = rows.shape[1]
    longest = 1 << (dimension.bit_length() - 1)
    for signs in frame.signs.astype(np.float64):
        rows = rows * signs
        rows[:, :longest] = _by_hadamard(rows[:, :longest])
        if longest < dimension:
            rows[:, -longest:] = _by_hadamard(rows[:, -longest:])
    return rows


def _by_hadamard(rows: Floats) -> Floats:
    """Times Hadamard's matrix, over the root of its size."""
    count, size = rows.shape
    half = 1
    while half < size:
        pairs = rows.reshape(count, -1, 2, half)
        rows = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
        half *= 2
    scaled: Floats = rows.reshape(count, size) / size**0.5
    return scaled


def _numbers(nibbles: np.ndarray, dimension: int) -> Matrix:
    """(n, dim) what is in the halves of bytes: four numbers, then four others."""
    apart = np.stack([nibbles & 15, nibbles >> 4], axis=2)
    return apart.reshape(len(nibbles), -1)[:, :dimension].astype(np.float32)


def _length(rows: Floats) -> Floats:
    return np.asarray(np.linalg.norm(rows, axis=1))


def refuse_false_index(
    directory: Path, space: SpaceState, index: SpaceIndex, made: DerivedFile
) -> None:
    """Raise DamagedError unless the file, whose checksum is right, is an index of the vectors of
    `space`."""
    path = path_of(directory, made)
    try:
        if made.covered > space.space.slots:
            raise ValueError(f"it claims {made.covered} vectors of {space.space.slots}")
        _refuse_other_vectors(index.read(directory, made), space)
    except PluginError:
        return  # without its class it isn't used either
    except (*CORRUPTION_ERRORS, RuntimeError) as error:
        raise forged_file_error(path, error) from error


def _refuse_other_vectors(index: VectorIndex, space: SpaceState) -> None:
    rows = space.vectors.rows(space.space.slots)[: len(index)]
    lengths = space.vectors.norms(rows, space.checksums, None).lengths
    if not isinstance(index, KnowsVectors):
        _refuse_wrong_distances(index, rows, lengths, space.space.metric)
        return
    others = sum(
        int(np.count_nonzero(~index.holds(first, some))) for first, some in _in_parts(rows)
    )
    if others:
        raise ValueError(f"{others} of {len(rows)} vectors aren't those of the collection")


def _in_parts(rows: Stored) -> Iterator[tuple[int, Matrix]]:
    step = max(1, CELLS_AT_ONCE // rows.shape[1])
    for first in range(0, len(rows), step):
        yield first, as_float32(rows[first : first + step])


def _refuse_wrong_distances(
    index: VectorIndex, rows: Stored, lengths: Floats, metric: Metric
) -> None:
    """Search for each vector that float32 can multiply; what is found must be there, once, and as
    far away as the index says. An index may miss some, but not all that are looked for."""
    searched = np.flatnonzero((lengths >= SAFE_LENGTHS[0]) & (lengths <= SAFE_LENGTHS[1]))
    hits = 0
    for start in range(0, len(searched), SEARCHED_AT_ONCE):
        slots = searched[start : start + SEARCHED_AT_ONCE]
        try:
            numbers, distances = index.search(as_float32(rows[slots]), min(CANDIDATES, len(rows)))
        except RuntimeError:  # as of an index that finds too few; searches go another way then
            continue
        found = np.asarray(numbers).reshape(len(slots), -1).astype(np.int64)
        told = np.asarray(distances).reshape(len(slots), -1).astype(np.float64)
        if found.shape != told.shape:
            raise ValueError("a search finds vectors without a distance")
        for of_slot in zip(slots.tolist(), found, told, strict=True):
            _refuse_wrong_hits(rows, lengths, metric, *of_slot)
        hits += int(np.count_nonzero((found == slots[:, None]).any(axis=1)))
    if len(searched) and not hits:
        raise ValueError(f"no search of {len(searched)} finds the vector that is looked for")


def _refuse_wrong_hits(
    rows: Stored, lengths: Floats, metric: Metric, slot: int, found: Ints, told: Floats
) -> None:
    if len(distinct(found)) < len(found):
        raise ValueError("a search finds a vector twice")
    if len(found) and not 0 <= found.min() <= found.max() < len(rows):
        raise ValueError("a search finds vectors that aren't there")
    length = float(lengths[slot])
    true = exact_distances(as_float32(rows[slot : slot + 1])[0], length, rows, found, metric)
    rounding = (rows.shape[1] + 16) * 4 * UNIT_ROUNDOFF
    if metric == "l2":
        allowed = rounding * (lengths[found] + length) ** 2
    elif metric == "ip":
        allowed = rounding * (1 + lengths[found] * length)
    else:
        allowed = np.full(len(found), rounding)
    wrong = ~(np.abs(told - true) <= allowed)
    if wrong.any():
        raise ValueError(
            f"a search says that vector {found[wrong][0]} is {told[wrong][0]:.6g} away from "
            f"vector {slot}, and not {true[wrong][0]:.6g}"
        )
