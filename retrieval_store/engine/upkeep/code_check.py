"""Codes in files held against the vectors they claim to be made of.

A checksum finds what happened to a file by accident; whoever makes a file to deceive gives it the
right one. What a search relies on is that bounds are bounds, so that is what is looked at, in
float64: how far each vector is from what its code stands for, and how long that is. Codes of other
make that keep it are as good.
"""

from pathlib import Path

import numpy as np

from retrieval_store.base.arrays import Bools, Floats, Ints, as_float32
from retrieval_store.engine.codes.segments import FILE_SEGMENTS, SEGMENT, SpaceCodes
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.engine.storage.derived import DerivedFile, deceit, path_of
from retrieval_store.indexes.codes import Codes
from retrieval_store.indexes.exact import Metric, Norms

ROWS_AT_ONCE = 2_048
LOOSE = 1.001  # bounds may be larger than what they bound, but not by more …
ROUNDED = 1e-6  # … nor than this share of the vector's length, by which halves may be wrong


def refuse_false_codes(
    directory: Path, space: SpaceState, codes: SpaceCodes, number: int, made: DerivedFile
) -> None:
    """Raise DamagedError unless the file, whose checksum is right, has codes of these vectors."""
    try:
        for at, found in enumerate(codes.read(directory, made).segments):
            _refuse_wrong(found, space, (number * FILE_SEGMENTS + at) * SEGMENT)
    except ValueError as error:
        raise deceit(path_of(directory, made), error) from error


def _refuse_wrong(found: Codes, space: SpaceState, first: int) -> None:
    slots = np.arange(first, first + SEGMENT)
    if slots[-1] >= space.space.slots:
        raise ValueError(f"it has codes of more than {space.space.slots} vectors")
    rows = space.vectors.rows(space.space.slots)
    norms = space.vectors.admit(rows, space.checksums, slots)
    for start in range(0, SEGMENT, ROWS_AT_ONCE):
        some = slice(start, start + ROWS_AT_ONCE)
        these = slots[some]
        own = _coded(as_float32(rows[these]).astype(np.float64), norms, these, space.space.metric)
        if found.centre is not None:
            own -= found.centre.astype(np.float64)
        if not _holds(found, some, own, norms.lengths[these]).all():
            raise ValueError("it has bounds that don't hold for its vectors")


def _coded(rows: Floats, norms: Norms, slots: Ints, metric: Metric) -> Floats:
    """What is coded of some rows, without regard to a centre."""
    lengths = norms.lengths[slots][:, None]
    if metric != "cosine":
        return rows
    unit: Floats = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return unit


def _holds(found: Codes, some: slice, own: Floats, lengths: Floats) -> Bools:
    """Whether the bounds of each row hold, and are no looser than need be."""
    meant = found.numbers[some] * found.scales[some].astype(np.float64)[:, None]
    far, long = _length(own - meant), _length(meant)
    residuals, held = found.residuals[some], found.lengths[some]
    size = _length(own)
    slack = ROUNDED * (size + lengths + 1) * np.sqrt(own.shape[1])
    good: Bools = (far <= residuals) & (long <= held) & (held <= long * LOOSE + slack)
    good &= np.isinf(residuals) | (residuals <= far * LOOSE + slack)
    if found.halves is not None:
        half = size * size / 2
        good &= np.isinf(residuals) | (np.abs(found.halves[some] - half) <= ROUNDED * half)
    return good


def _length(rows: Floats) -> Floats:
    return np.asarray(np.linalg.norm(rows, axis=1))
