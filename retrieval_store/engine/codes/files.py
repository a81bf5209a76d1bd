"""Codes in files: segments one after another, of one size.

A segment has a header, the centre, the floats of its rows, and at multiples of 64 bytes the upper
and the lower halves of its codes, as they lie in memory (`indexes/native/kernel.h`). All is
little-endian. The header says how many rows there are, their dimension and metric, and the seed of
the rotation; but for the seed it decides nothing, but has to be what is expected. Files are mapped,
so that all processes share them.
"""

import mmap
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retrieval_store.base.arrays import METRICS, Bytes, Matrix, Metric
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.system import is_whole
from retrieval_store.indexes.native import BLOCK, OF_ROW, chunks_of
from retrieval_store.indexes.quantized import Codes, Frame

HEADER = struct.Struct("<8sIIIIQ")
MAGIC = b"rscodes2"
MAGIC_BEFORE = b"rscodes1"  # of codes as they were made before the scan was compiled
ALIGNMENT = 64
LARGEST = 1e25  # of what is told of rows of safe lengths: half a square of 2e12 …
ROUNDED = 1e-3  # … and by how much the square of a direction may not be 1


class OlderError(ValueError):
    """A file of codes as they were made before."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """The segments of a file. memory: what they lie in."""

    segments: tuple[Codes, ...]
    memory: mmap.mmap

    @property
    def is_whole(self) -> bool:
        """Whether the file is as long as it was."""
        return is_whole(self.memory)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things are in a segment. high, low: where the halves of the codes begin; half: the
    bytes of one; size: of all."""

    rows: int
    dimension: int
    metric: Metric
    high: int
    low: int
    half: int
    size: int

    @classmethod
    def of(cls, rows: int, dimension: int, metric: Metric) -> "_Layout":
        half = rows * chunks_of(dimension) * 4
        high = _aligned(HEADER.size + 4 * (dimension + (OF_ROW + 1) * rows))
        low = _aligned(high + half)
        return cls(rows, dimension, metric, high, low, half, _aligned(low + half))

    def header(self, seed: int) -> bytes:
        """What a segment begins with."""
        return HEADER.pack(MAGIC, self.rows, self.dimension, METRICS.index(self.metric), 0, seed)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def write_segments(path: Path, segments: Sequence[Codes], metric: Metric) -> None:
    """Write segments of as many rows each, multiples of 32, to a new file."""
    with path.open("wb") as file:
        for codes in segments:
            frame = codes.frame
            layout = _Layout.of(len(codes.finer), len(frame.centre), metric)
            floats = (frame.centre, codes.rows, codes.finer)
            head = layout.header(frame.seed) + b"".join(a.astype("<f4").tobytes() for a in floats)
            file.write(head.ljust(layout.high, b"\0"))
            file.write(codes.high.tobytes().ljust(layout.low - layout.high, b"\0"))
            file.write(codes.low.tobytes().ljust(layout.size - layout.low, b"\0"))


def read_segments(path: Path, count: int, rows: int, dimension: int, metric: Metric) -> Mapped:
    """`count` segments of so many rows, as they were written, read-only; ValueError when the file
    holds something else, OlderError for what was made before codes were as they are."""
    layout = _Layout.of(rows, dimension, metric)
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    if memory[: len(MAGIC_BEFORE)] == MAGIC_BEFORE:
        raise OlderError(f"{path} has codes of an older kind")
    if len(memory) != count * layout.size:
        raise ValueError(f"{path} has {len(memory)} bytes, not those of {count} segments")
    every = range(0, len(memory), layout.size)
    return Mapped(tuple(_segment(memory, start, layout, path) for start in every), memory)


def _segment(memory: mmap.mmap, start: int, layout: _Layout, path: Path) -> Codes:
    header = memory[start : start + HEADER.size]
    seed = HEADER.unpack(header)[-1]
    if header != layout.header(seed):
        raise ValueError(f"{path} has no header of {layout.rows} codes of {layout.dimension}")
    rows, dimension = layout.rows, layout.dimension
    count = dimension + (OF_ROW + 1) * rows
    floats: Matrix = np.frombuffer(memory, "<f4", count, start + HEADER.size)
    of_rows = floats[dimension : dimension + OF_ROW * rows].reshape(-1, OF_ROW, BLOCK)
    centre, finer = floats[:dimension].copy(), floats[dimension + OF_ROW * rows :]
    _refuse_senseless(of_rows, finer, centre, layout.metric, path)
    chunks = chunks_of(dimension)
    high: Bytes = np.frombuffer(memory, np.uint8, layout.half, start + layout.high)
    low: Bytes = np.frombuffer(memory, np.uint8, layout.half, start + layout.low)
    return Codes(
        rows,
        Frame(seed, centre, layout.metric),
        high.reshape(-1, chunks, BLOCK, 4),
        low.reshape(rows, chunks, 4),
        of_rows,
        finer,
    )


def _refuse_senseless(
    of_rows: Matrix, finer: Matrix, centre: Matrix, metric: Metric, path: Path
) -> None:
    scales, residuals, sides, reaches = (of_rows[:, i] for i in range(OF_ROW))
    bounds = all((a >= 0).all() for a in (residuals, finer, reaches, scales))
    small = all((np.abs(a) <= LARGEST).all() for a in (scales, sides, reaches, centre))
    is_direction = metric == "l2" or abs(float(centre @ centre) - 1) < ROUNDED
    if not (bounds and small and is_direction):
        raise ValueError(f"{path} has bounds, or a centre, that are none")
