"""Codes in files: a header, the arrays of the rows, the centre, and the codes themselves.

All little-endian. The header says how many rows there are, their dimension and metric, and whether
there is a centre; what it says decides nothing, but has to be what is expected. The codes begin at
a multiple of 64 bytes, and are mapped, so that all processes share them.
"""

import mmap
import struct
from pathlib import Path

import numpy as np

from retrieval_store.base.arrays import Matrix
from retrieval_store.indexes.codes import Codes
from retrieval_store.indexes.exact import METRICS, Metric
from retrieval_store.indexes.kernels import Int8s

HEADER = struct.Struct("<8sIIII")
MAGIC = b"rscodes1"
ALIGNMENT = 64


def write_codes(path: Path, codes: Codes, metric: Metric) -> None:
    """Write codes of as many rows as there are, without padding, to a new file."""
    rows, dimension = codes.numbers.shape
    has_centre = codes.centre is not None
    header = HEADER.pack(MAGIC, rows, dimension, METRICS.index(metric), has_centre)
    arrays = [codes.scales, codes.residuals, codes.lengths, codes.halves, codes.centre]
    parts = [header, *(a.astype("<f4").tobytes() for a in arrays if a is not None)]
    with path.open("wb") as file:
        head = b"".join(parts)
        file.write(head + bytes(-len(head) % ALIGNMENT))
        file.write(np.ascontiguousarray(codes.numbers).data.cast("B"))


def read_codes(path: Path, rows: int, dimension: int, metric: Metric) -> Codes:
    """What `write_codes` wrote of so many rows, read-only; ValueError when it is something else."""
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    has_centre = _has_centre(memory, path, rows, dimension, metric)
    arrays = 4 if metric == "l2" else 3
    floats = arrays * rows + (dimension if has_centre else 0)
    start = -(-(HEADER.size + 4 * floats) // ALIGNMENT) * ALIGNMENT
    if len(memory) != start + rows * dimension:
        raise ValueError(f"{path} has {len(memory)} bytes, not those of {rows} codes")
    # Copies: that takes no time, and what is checked can't change.
    numbers: Matrix = np.frombuffer(memory, "<f4", floats, HEADER.size).astype(np.float32)
    of_rows = numbers[: arrays * rows].reshape(arrays, rows)
    _refuse_senseless(of_rows, numbers[arrays * rows :], path)
    codes: Int8s = np.frombuffer(memory, np.int8, rows * dimension, start).reshape(rows, dimension)
    scales, residuals, lengths = of_rows[:3]
    halves = of_rows[3] if metric == "l2" else None
    centre = numbers[arrays * rows :] if has_centre else None
    return Codes(rows, codes, scales, residuals, lengths, halves, centre)


def _has_centre(memory: mmap.mmap, path: Path, rows: int, dimension: int, metric: Metric) -> bool:
    if len(memory) < HEADER.size:
        raise ValueError(f"{path} is too short for codes")
    magic, *said, has_centre = HEADER.unpack(memory[: HEADER.size])
    if magic != MAGIC or said != [rows, dimension, METRICS.index(metric)] or has_centre > 1:
        raise ValueError(f"{path} isn't a file of {rows} codes of {dimension} numbers")
    return bool(has_centre)


def _refuse_senseless(of_rows: Matrix, centre: Matrix, path: Path) -> None:
    residuals = of_rows[1]
    rest = of_rows[[0, *range(2, len(of_rows))]]
    if not (residuals >= 0).all() or not (rest >= 0).all() or not np.isfinite(rest).all():
        raise ValueError(f"{path} has bounds that are none")
    if not np.isfinite(centre).all():
        raise ValueError(f"{path} has a centre that is none")
