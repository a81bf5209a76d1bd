"""Codes in files held against the vectors they claim to be made of.

A checksum finds what happened to a file by accident; whoever makes a file to deceive gives it the
right one. What a search relies on is that bounds are bounds, so that is what is looked at, in
float64 and without the compiled part that makes codes: how far each vector, rotated, is from what
its code stands for, how long that is, and what is told of the vector exactly. Codes of other make
that keep it are as good.
"""

from pathlib import Path

import numpy as np

from retrieval_store.base.arrays import Bools, Floats, Matrix, as_float32
from retrieval_store.engine.codes.files import OlderError
from retrieval_store.engine.codes.segments import FILE_SEGMENTS, SEGMENT, SpaceCodes
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.engine.storage.derived import DerivedFile, deceit, path_of
from retrieval_store.indexes.codes import Codes, Frame
from retrieval_store.indexes.exact import SAFE_LENGTHS, UNIT_ROUNDOFF
from retrieval_store.indexes.native.structures import BLOCK

ROWS_AT_ONCE = 2_048  # whole blocks
LOOSE = 1.001  # bounds may be larger than what they bound, but not by more …
ROUNDED = 2e-5  # … nor than this share of the vector's length


def refuse_false_codes(
    directory: Path, space: SpaceState, codes: SpaceCodes, number: int, made: DerivedFile
) -> None:
    """Raise DamagedError unless the file, whose checksum is right, has codes of these vectors."""
    try:
        for at, found in enumerate(codes.read(directory, made).segments):
            _refuse_wrong(found, space, (number * FILE_SEGMENTS + at) * SEGMENT)
    except OlderError:
        return  # they are made anew when they are wanted
    except ValueError as error:
        raise deceit(path_of(directory, made), error) from error


def _refuse_wrong(found: Codes, space: SpaceState, first: int) -> None:
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
        halves = _length(own) ** 2 / 2
        return own, lengths, np.abs(sides - halves) <= 2 * UNIT_ROUNDOFF * halves + 1e-40
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


def _numbers(halves: np.ndarray, dimension: int) -> Matrix:
    """(n, dim) what is in the halves of bytes: four numbers, then four others."""
    apart = np.stack([halves & 15, halves >> 4], axis=2)
    return apart.reshape(len(halves), -1)[:, :dimension].astype(np.float32)


def _length(rows: Floats) -> Floats:
    return np.asarray(np.linalg.norm(rows, axis=1))
