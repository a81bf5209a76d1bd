"""Codes in files: segments one after another, of one size.

A segment has a header, the arrays of its rows, the centre (zeros where there is none), and the
codes themselves, at a multiple of 64 bytes. All is little-endian. The header says how many rows
there are, their dimension and metric, and whether there is a centre; what it says decides nothing,
but has to be what is expected. Files are mapped, so that all processes share them.
"""

import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrieval_store.base.arrays import Matrix
from retrieval_store.indexes.codes import Codes
from retrieval_store.indexes.exact import METRICS, Metric
from retrieval_store.indexes.kernels import Int8s

HEADER = struct.Struct("<8sIIII")
MAGIC = b"rscodes1"
ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Mapped:
    """The segments of a file. memory: what they lie in."""

    segments: tuple[Codes, ...]
    memory: mmap.mmap

    @property
    def is_whole(self) -> bool:
        """Whether the file is as long as it was: to read a map behind its end kills the process."""
        return self.memory.size() >= len(self.memory)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things are in a segment. floats: how many there are, for each row and of the centre;
    start: of the codes; size: of all, in bytes."""

    rows: int
    dimension: int
    metric: Metric
    arrays: int
    start: int
    size: int

    @classmethod
    def of(cls, rows: int, dimension: int, metric: Metric) -> "_Layout":
        arrays = 4 if metric == "l2" else 3
        start = _aligned(HEADER.size + 4 * (arrays * rows + dimension))
        size = _aligned(start + rows * dimension)
        return cls(rows, dimension, metric, arrays, start, size)

    def header(self, has_centre: bool) -> bytes:
        """What a segment begins with."""
        metric = METRICS.index(self.metric)
        return HEADER.pack(MAGIC, self.rows, self.dimension, metric, has_centre)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def write_segments(path: Path, segments: Sequence[Codes], metric: Metric) -> None:
    """Write segments of as many rows each, without padding, to a new file."""
    with path.open("wb") as file:
        for codes in segments:
            layout = _Layout.of(len(codes.numbers), codes.numbers.shape[1], metric)
            centre = np.zeros(layout.dimension) if codes.centre is None else codes.centre
            floats = [codes.scales, codes.residuals, codes.lengths, codes.halves, centre]
            head = layout.header(codes.centre is not None)
            head += b"".join(a.astype("<f4").tobytes() for a in floats if a is not None)
            file.write(head.ljust(layout.start, b"\0"))
            file.write(np.ascontiguousarray(codes.numbers).data.cast("B"))
            file.write(bytes(layout.size - layout.start - codes.numbers.size))


def read_segments(path: Path, count: int, rows: int, dimension: int, metric: Metric) -> Mapped:
    """`count` segments of so many rows, as they were written, read-only; ValueError when the file
    holds something else."""
    layout = _Layout.of(rows, dimension, metric)
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    if len(memory) != count * layout.size:
        raise ValueError(f"{path} has {len(memory)} bytes, not those of {count} segments")
    every = range(0, len(memory), layout.size)
    return Mapped(tuple(_segment(memory, start, layout, path) for start in every), memory)


def _segment(memory: mmap.mmap, start: int, layout: _Layout, path: Path) -> Codes:
    header = memory[start : start + HEADER.size]
    if header not in (layout.header(True), layout.header(False)):
        raise ValueError(f"{path} has no header of {layout.rows} codes of {layout.dimension}")
    floats = layout.arrays * layout.rows + layout.dimension
    # Copies: that takes no time, and what is checked can't change.
    numbers = np.frombuffer(memory, "<f4", floats, start + HEADER.size).astype(np.float32)
    of_rows = numbers[: layout.arrays * layout.rows].reshape(layout.arrays, layout.rows)
    centre = numbers[of_rows.size :]
    _refuse_senseless(of_rows, centre, path)
    size = layout.rows * layout.dimension
    codes: Int8s = np.frombuffer(memory, np.int8, size, start + layout.start)
    scales, residuals, lengths = of_rows[:3]
    return Codes(
        layout.rows,
        codes.reshape(layout.rows, layout.dimension),
        scales,
        residuals,
        lengths,
        of_rows[3] if layout.metric == "l2" else None,
        centre if header == layout.header(True) else None,
    )


def _refuse_senseless(of_rows: Matrix, centre: Matrix, path: Path) -> None:
    residuals, rest = of_rows[1], of_rows[[0, *range(2, len(of_rows))]]
    if not (residuals >= 0).all() or not (rest >= 0).all() or not np.isfinite(rest).all():
        raise ValueError(f"{path} has bounds that are none")
    if not np.isfinite(centre).all():
        raise ValueError(f"{path} has a centre that is none")
