"""The quantized codes of one vector space. With them, a search proves that most vectors aren't near
a query.

The vector of a slot never changes, so codes never become wrong. Codes are stored in *segments* of
equal size. A full segment is immutable, and goes into a derived file. The process that does
maintenance writes the file, and all processes map it. The vectors after the last full segment, the
*tail*, have their codes only in memory. Vectors without codes are searched as floats, with the same
result.

A small collection has no codes (`planner.codes_pay_off`), because scanning floats is as fast there.
So thousands of small collections have no files of codes, and don't import this module. Without the
compiled part no collection has codes.

A file contains consecutive segments of equal size. A segment begins with a header, the centre, and
the floats of its rows. The upper and the lower halves of its codes, and the signs, follow at
multiples of 64 bytes, in their layout in memory (`indexes/native/layout.h`). All numbers are
little-endian. The header contains the number of rows, their dimension and metric, and the seed of
the rotation. All of these except the seed must equal the values that the reader expects, so a
forged header changes nothing. Files are mapped, so that all processes share them.
"""

import mmap
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import ClassVar, TypeAlias

import apsw
import numpy as np

from retrieval_store.base.arrays import METRICS, Bytes, Ints, Matrix, Metric, Stored, is_whole
from retrieval_store.base.platform import map_file
from retrieval_store.engine.filtering.cache import FilterResult
from retrieval_store.engine.locks import FifoLock
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.engine.storage.derived import (
    DerivedFile,
    DerivedFiles,
    DerivedKind,
    OutdatedError,
    checksum_of,
    find_all,
    path_of,
)
from retrieval_store.engine.storage.schema import Space
from retrieval_store.errors import DamagedError, StorageError
from retrieval_store.indexes.exact import max_candidates
from retrieval_store.indexes.native import (
    BLOCK,
    OF_ROW,
    SIDE,
    chunks_of,
    signs_bytes,
    tile_rows,
)
from retrieval_store.indexes.quantized import (
    CodePass,
    Codes,
    CodeSegments,
    Frame,
    SearchGoal,
    allocate_codes,
    best_frame,
    encode_into,
    factors_and_sides,
    first_of,
    serves,
)

SEGMENT = 16_384  # slots
LONGEST_NUMBER = 18  # digits
# Segments in a file at most; a file takes a descriptor, and descriptors may be few.
FILE_SEGMENTS = 8
MAX_SHARE = 20  # a scan of codes must leave at most one candidate in this many rows
MIN_CELLS = 32_768  # numbers of vectors without codes; if there are fewer, coding is postponed
HARD_AFTER = (
    3  # queries of a kind whose candidates were too many, and no others: then they are no help …
)
TRY_AGAIN = 256  # … until this many have been answered without
NO_SLOTS = np.empty(0, np.int64)
# Reads the vectors of a range of slots, with verified checksums.
RowsOf: TypeAlias = Callable[[int, int], Stored]


def verified_rows(space: SpaceState, first: int, stop: int) -> Stored:
    """The vectors of the slots from `first` to `stop`, after their checksums are verified. Raises
    DamagedError if a checksum is wrong."""
    matrix = space.vectors.rows(space.space.slots)
    space.vectors.verify_once(matrix, space.checksums, np.arange(first, stop))
    return matrix[first:stop]


@dataclass(frozen=True, slots=True)
class CodeSnapshot:
    """The codes of a space at one moment. pieces: for each segment, its first slot and its codes,
    ascending. together: all codes in the form that searches use, None if there are no codes. count:
    the number of coded slots. stop: the slot after the last coded slot."""

    pieces: tuple[tuple[int, Codes], ...]
    together: CodeSegments | None
    count: int
    stop: int

    @classmethod
    def of(cls, pieces: Sequence[tuple[int, Codes]]) -> "CodeSnapshot":
        """A snapshot of these pieces."""
        if not pieces:
            return NOTHING_CODED
        first, last = pieces[-1]
        together = CodeSegments.of([codes for _, codes in pieces], [first for first, _ in pieces])
        return cls(tuple(pieces), together, together.count, first + last.count)

    def count_below(self, slots: int) -> int:
        """How many of the first `slots` slots have a code."""
        if slots >= self.stop:
            return self.count
        return sum(min(codes.count, max(0, slots - first)) for first, codes in self.pieces)

    def covers(self, slots: int) -> bool:
        """Whether each of the first `slots` slots has a code."""
        return self.count == self.stop >= slots

    def lacking(self, slots: int) -> Ints:
        """The slots among the first `slots` slots that have no code."""
        if slots == self.count == self.stop:
            return NO_SLOTS
        ranges, end = [], 0
        for first, codes in self.pieces:
            ranges.append(np.arange(end, min(first, slots)))
            end = first + codes.count
        ranges.append(np.arange(end, slots))
        return np.concatenate(ranges)

    def count_uncoded(self, space: SpaceState) -> int:
        """How many vectors of existing points have no code. Dead slots aren't counted."""
        slots = space.space.slots
        if not self.count:
            return slots - space.dead
        lacking = self.lacking(slots)
        return int(np.count_nonzero(space.row_of_slot[lacking] >= 0)) if len(lacking) else 0

    def pass_among(
        self, allowed: FilterResult, space: SpaceState, k: int, errors: float | None
    ) -> CodePass:
        """A prepared scan of all codes for the k nearest vectors that fulfil a filter. allowed: the
        result of the filter. errors: see `SearchGoal`."""
        assert self.together is not None
        most = max_candidates(allowed.about_count, MAX_SHARE, k)
        of_slots = allowed.filter_for_codes(space, self.stop)
        goal = SearchGoal(k, most, of_slots, None, errors)
        return CodePass(self.together, goal, space.vectors.rows(space.space.slots))


NOTHING_CODED = CodeSnapshot((), None, 0, 0)


@dataclass(slots=True)
class _Experience:
    """How useful codes were in recent queries of one kind. strikes: a counter that rises after a
    query that codes didn't help, and falls after one that they did. spared: how many queries were
    answered without codes since codes stopped helping."""

    strikes: int = 0
    spared: int = 0


class SpaceCodes(DerivedKind[None, "MappedSegments"]):
    """The codes of a vector space in one generation; empty until they are loaded or computed.
    filling: the lock of the thread that loads or computes codes. closed: whether the codes are no
    longer used. nbytes: the size of private memory, without mapped files. changed: called after
    each change of the snapshot."""

    what: ClassVar[str] = "codes"

    def __init__(self, space: Space, generation: int, files: DerivedFiles | None) -> None:
        self.key = f"codes.{space.number}.{generation}"
        self.filling = FifoLock()
        self.closed = False
        self.nbytes = 0
        self.changed: Callable[[], None] = lambda: None
        self._space, self._derived = space, files
        self._segments: dict[int, Codes] = {}
        self._files: dict[int, MappedSegments] = {}
        # A single object, because an interrupt may come between two assignments.
        self._tail: tuple[int, Codes] | None = None
        self._looked = files is None
        self._shown = NOTHING_CODED
        # Files with verified checksums; they may be unmapped and mapped again.
        self._verified: set[DerivedFile] = set()
        self._learned: dict[tuple[int, int], _Experience] = {}

    def key_of(self, number: int) -> str:
        """The key under which the file with this number is recorded."""
        return f"{self.key}.{number}"

    def snapshot(self) -> CodeSnapshot:
        """The current snapshot, which is immutable. If a file was truncated while another thread is
        computing codes, the snapshot may be empty for a moment."""
        if all(mapped.is_whole for mapped in list(self._files.values())):
            return self._shown
        return self.filling.take_in_time(0, self._without_cut_off, lambda: NOTHING_CODED)

    def _in_memory(self) -> int:
        files = list(self._files.values())
        shared = sum(codes.nbytes for mapped in files for codes in mapped.segments)
        return max(0, sum(codes.nbytes for _, codes in self._shown.pieces) - shared)

    # How much codes have helped in recent queries.

    def is_trusted(self, k: int, matching: int) -> bool:
        """Whether codes have excluded most vectors in recent queries with similar numbers of hits
        and of matching points."""
        return self._experience(k, matching).strikes < HARD_AFTER

    def are_effective(self, k: int, matching: int) -> bool:
        """Whether to use codes, because they are trusted (`is_trusted`), or because it is time to
        try them again."""
        learned = self._experience(k, matching)
        if learned.strikes < HARD_AFTER:
            return True
        learned.spared += 1
        return learned.spared % TRY_AGAIN == 0

    def note(self, helped: bool, k: int, matching: int) -> None:
        """Record whether codes have helped in a query for k hits. matching: how many points matched
        the query's filter."""
        learned = self._experience(k, matching)
        strikes = learned.strikes - 1 if helped else learned.strikes + 1
        learned.strikes = min(HARD_AFTER, max(0, strikes))

    def _experience(self, k: int, matching: int) -> "_Experience":
        # By powers of two, because queries for thousands of hits say nothing about queries for ten
        # hits.
        kind = k.bit_length(), matching.bit_length()
        return self._learned.get(kind) or self._learned.setdefault(kind, _Experience())

    # Loading and computing codes.

    def load_saved(self, connection: apsw.Connection, slots: int, newer: bool = False) -> None:
        """Load the recorded files that lie completely within the first `slots` slots. Only the
        first call loads files, unless `newer` is set. Does nothing while another thread loads or
        computes codes."""
        if newer or not self._looked:
            load = partial(self._load_found, connection, slots)
            self.filling.take_in_time(0, load, lambda: None)

    def _load_found(self, connection: apsw.Connection, slots: int) -> None:
        if self._derived is not None:
            for derived_file in find_all(connection, self.key):
                number = number_of(derived_file)
                held_segments = len(self._files[number].segments) if number in self._files else 0
                begins = number * FILE_SEGMENTS * SEGMENT
                holds_more = derived_file.covered > held_segments * SEGMENT
                if holds_more and 0 <= begins <= slots - derived_file.covered:
                    self._load(self._derived, derived_file)
            self._show()
        self._looked = True

    def _load(self, files: DerivedFiles, derived_file: DerivedFile) -> None:
        mapped = self.try_read(files, derived_file, None)
        if mapped is not None:
            self._use(number_of(derived_file), mapped)

    def read_checked(
        self, directory: Path, derived_file: DerivedFile, source: None
    ) -> "MappedSegments":
        """The content of a file, mapped into memory. The checksum of the file is verified only
        once."""
        path = path_of(directory, derived_file)
        if derived_file not in self._verified and checksum_of(path) != derived_file.checksum:
            raise DamagedError(f"{path} is damaged: its checksum is wrong")
        self._verified.add(derived_file)
        return self.read(path, derived_file, source)

    def read(self, path: Path, derived_file: DerivedFile, source: None) -> "MappedSegments":
        count, rest = divmod(derived_file.covered, SEGMENT)
        if rest or not 0 < count <= FILE_SEGMENTS:
            raise ValueError(
                f"{path} claims {derived_file.covered} codes, which are no whole segments"
            )
        assert self._space.dimension is not None
        return read_segments(path, count, SEGMENT, self._space.dimension, self._space.metric)

    def _use(self, number: int, mapped: "MappedSegments") -> None:
        """Use the segments of a mapped file; the caller must then call `_show`."""
        for i, codes in enumerate(mapped.segments):
            self._segments[number * FILE_SEGMENTS + i] = self._sharing_frame(codes)
        self._files[number] = mapped

    def _sharing_frame(self, codes: Codes) -> Codes:
        """The same codes, which use the frame object of another segment if the two frames are
        equal. Then a query is transformed only once for both segments."""
        for segment in self._segments.values():
            if segment.frame.same_as(codes.frame):
                return replace(codes, frame=segment.frame)
        return codes

    def _without_cut_off(self) -> CodeSnapshot:
        """Drop files that were truncated after they were mapped, and return the new snapshot. The
        codes in the dropped files are computed again later."""
        for number, mapped in list(self._files.items()):
            if not mapped.is_whole and self._derived is not None:
                self._derived.warn(self.what, "a file was cut off")
                self._drop_file(number)
        self._show()
        return self._shown

    def take_in(self, slots: int, rows_of: RowsOf, tell: Callable[[], object]) -> None:
        """Compute the codes of the first `slots` slots, segment by segment, if that is worthwhile.
        tell: called after each segment. rows_of: takes two slots; returns the vectors from the
        first slot up to, but excluding, the second slot."""
        while self.lacks(slots) and not self.closed:
            self.filling.take(partial(self._take_in, slots, rows_of))
            tell()

    def lacks(self, slots: int) -> bool:
        """Whether enough of the first `slots` slots lack codes, so that computing them is
        worthwhile now."""
        behind = slots - self._shown.count_below(slots)
        return behind * (self._space.dimension or 0) > MIN_CELLS

    def _take_in(self, slots: int, rows_of: RowsOf) -> None:
        """Compute the codes of the next segment that lacks codes, or of the tail. slots, rows_of:
        see `take_in`."""
        for number in range(-(-slots // SEGMENT)):
            stop = min(slots, (number + 1) * SEGMENT)
            if not self._has(number, stop):
                self._code(number, stop, rows_of)
                self._show()
                return

    def _has(self, number: int, stop: int) -> bool:
        """Whether the slots of the segment with this number have codes up to the slot `stop`."""
        first = number * SEGMENT
        tail = self._tail_of(number)
        return number in self._segments or (tail is not None and tail.count >= stop - first)

    def _tail_of(self, number: int) -> Codes | None:
        """The codes of the tail if it belongs to the segment with this number, otherwise None."""
        tail = self._tail
        return tail[1] if tail is not None and tail[0] == number else None

    def _code(self, number: int, stop: int, rows_of: RowsOf) -> None:
        """Compute the codes of a segment, up to the slot `stop`, into memory. number: the number of
        the segment; rows_of: see `take_in`."""
        first = number * SEGMENT
        tail = self._tail_of(number)
        tail_rows = 0 if tail is None else tail.count
        rows = rows_of(first + tail_rows, stop)
        if tail is None:
            tail = allocate_codes(SEGMENT, self._frame_for(rows, self._space.metric))
        encode_into(tail, tail_rows, rows)
        tail = first_of(tail, stop - first)
        if tail.count == SEGMENT:
            self._segments[number], self._tail = tail, None
        else:
            self._tail = number, tail

    def _frame_for(self, rows: Stored, metric: Metric) -> Frame:
        """The frame for coding these rows. The frame of another segment is reused if it suits these
        rows, so that a query is transformed only once. Otherwise a new frame is made."""
        best = best_frame(rows, metric, int.from_bytes(os.urandom(8), "little"))
        frames = {id(codes.frame): codes.frame for codes in self._segments.values()}
        return next((frame for frame in frames.values() if serves(frame, best, rows)), best)

    def _show(self) -> None:
        pieces = [(number * SEGMENT, self._segments[number]) for number in sorted(self._segments)]
        if self._tail is not None and self._tail[0] not in self._segments:
            number, tail = self._tail
            pieces.append((number * SEGMENT, tail))
            pieces.sort(key=lambda piece: piece[0])
        if not self.closed:
            self._shown = CodeSnapshot.of(pieces)
            self.nbytes = self._in_memory()
        self.changed()

    # Saving codes.

    def unsaved_files(self, every: bool = False) -> list[int]:
        """The numbers of the files that are worth writing: those that would get twice as many
        segments, or become full. every: include all files that would get at least one more
        segment."""
        numbers = {number // FILE_SEGMENTS for number in list(self._segments)}
        return [number for number in sorted(numbers) if self._outgrown(number, every)]

    def _outgrown(self, number: int, every: bool) -> bool:
        segment_count, saved = len(self._segments_of_file(number)), 0
        if number in self._files:
            saved = len(self._files[number].segments)
        return segment_count > saved and (
            every or segment_count >= 2 * saved or segment_count == FILE_SEGMENTS
        )

    def _segments_of_file(self, number: int) -> list[Codes]:
        """The segments that can be written to a file now: those before the file's first missing
        segment."""
        first = number * FILE_SEGMENTS
        all_segments = [self._segments.get(first + i) for i in range(FILE_SEGMENTS)]
        return [
            codes for codes in takewhile(lambda codes: codes is not None, all_segments) if codes
        ]

    def write(self, number: int, path: Path) -> int:
        """Write the file with this number to `path`; returns how many slots are in it."""
        segments = self._segments_of_file(number)
        if not segments:
            raise StorageError("the codes were closed before they were saved")
        write_segments(path, segments, self._space.metric)
        return len(segments) * SEGMENT

    def map(self, derived_files: list[DerivedFile]) -> None:
        """Map these files, which were just written, and use them instead of the codes in memory.
        Files that can't be mapped are left out."""

        def use() -> None:
            for file in derived_files:
                if self._derived is not None:
                    self._load(self._derived, file)
            self._show()

        self.filling.take(use)

    @property
    def files(self) -> int:
        """How many files are mapped."""
        return len(self._files)

    def close_idle(self) -> None:
        """Release mapped files, unless a thread is computing codes. The next search maps them
        again."""
        self.filling.take_in_time(0, self._unmap, lambda: None)

    def _unmap(self) -> None:
        for number in list(self._files):
            self._drop_file(number)
        self._looked = self._derived is None
        self._show()

    def _drop_file(self, number: int) -> None:
        for i in range(len(self._files.pop(number).segments)):
            self._segments.pop(number * FILE_SEGMENTS + i, None)

    def close(self) -> None:
        """Release the memory. Running searches, and a thread that computes codes, keep their own
        references."""
        self.closed, self._shown, self.nbytes = True, NOTHING_CODED, 0
        self.filling.take_in_time(0, self._let_go, lambda: None)

    def _let_go(self) -> None:
        self._segments, self._files, self._tail = {}, {}, None


def number_of(file: DerivedFile) -> int:
    """The number of a file of codes; -1 if the name isn't one of ours."""
    name = file.key.rpartition(".")[2]
    number = int(name) if len(name) < LONGEST_NUMBER and name.isdecimal() else -1
    return number if str(number) == name else -1


HEADER = struct.Struct("<8sIIIIQ")
MAGIC = b"rscodes3"
MAGICS_BEFORE = (b"rscodes1", b"rscodes2")  # formats without the compiled scan, and without signs
ALIGNMENT = 64
LARGEST = 1e25  # of the stored floats of rows with safe lengths: half a square of 2e12 …
ROUNDED = 1e-3  # … and by how much the square of a direction may not be 1


@dataclass(frozen=True, slots=True)
class MappedSegments:
    """The segments in a mapped file. memory: the memory map that contains them."""

    segments: tuple[Codes, ...]
    memory: mmap.mmap

    @property
    def is_whole(self) -> bool:
        """Whether the file still has the length that it had when it was mapped."""
        return is_whole(self.memory)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Byte offsets and sizes within a segment. Offsets: of_rows, of the floats of rows; high, low,
    of the upper and lower halves of the codes; signs, of the signs. Sizes: half, of the upper or
    lower halves; signed, of the signs; size, of the whole segment."""

    rows: int
    dimension: int
    metric: Metric
    of_rows: int
    high: int
    low: int
    half: int
    signs: int
    signed: int
    size: int

    @classmethod
    def of(cls, rows: int, dimension: int, metric: Metric) -> "_Layout":
        half = rows * chunks_of(dimension) * 4
        of_rows = _align(HEADER.size + 4 * dimension)
        high = _align(of_rows + 4 * (OF_ROW + 1) * rows)
        low = _align(high + half)
        signs, signed = _align(low + half), rows // BLOCK * signs_bytes(dimension)
        sizes = of_rows, high, low, half, signs, signed, _align(signs + signed)
        return cls(rows, dimension, metric, *sizes)

    def header(self, seed: int) -> bytes:
        """The header of a segment. seed: the seed of the rotation."""
        return HEADER.pack(MAGIC, self.rows, self.dimension, METRICS.index(self.metric), 0, seed)


def _align(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def write_segments(path: Path, segments: Sequence[Codes], metric: Metric) -> None:
    """Write segments of equal size to a new file. The size must be a multiple of 32 rows."""
    with path.open("wb") as file:
        for codes in segments:
            frame = codes.frame
            layout = _Layout.of(len(codes.finer), len(frame.centre), metric)
            head = layout.header(frame.seed) + frame.centre.astype("<f4").tobytes()
            floats = b"".join(a.astype("<f4").tobytes() for a in (codes.rows, codes.finer))
            file.write(head.ljust(layout.of_rows, b"\0"))
            file.write(floats.ljust(layout.high - layout.of_rows, b"\0"))
            file.write(codes.high.tobytes().ljust(layout.low - layout.high, b"\0"))
            file.write(codes.low.tobytes().ljust(layout.signs - layout.low, b"\0"))
            file.write(codes.signs.tobytes().ljust(layout.size - layout.signs, b"\0"))


def read_segments(
    path: Path, count: int, rows: int, dimension: int, metric: Metric
) -> MappedSegments:
    """Read `count` segments of `rows` rows each from a file. The arrays are read-only. Raises
    ValueError if the file has other content, and OutdatedError if it has an earlier format."""
    layout = _Layout.of(rows, dimension, metric)
    memory = map_file(path)
    if memory[: len(MAGIC)] in MAGICS_BEFORE:
        raise OutdatedError(f"{path} has codes of an older kind")
    if len(memory) != count * layout.size:
        raise ValueError(f"{path} has {len(memory)} bytes, not those of {count} segments")
    starts = range(0, len(memory), layout.size)
    return MappedSegments(tuple(_segment(memory, start, layout, path) for start in starts), memory)


def _segment(memory: mmap.mmap, start: int, layout: _Layout, path: Path) -> Codes:
    header = memory[start : start + HEADER.size]
    seed = HEADER.unpack(header)[-1]
    if header != layout.header(seed):
        raise ValueError(f"{path} has no header of {layout.rows} codes of {layout.dimension}")
    rows, dimension = layout.rows, layout.dimension
    centre = np.frombuffer(memory, "<f4", dimension, start + HEADER.size).copy()
    floats: Matrix = np.frombuffer(memory, "<f4", (OF_ROW + 1) * rows, start + layout.of_rows)
    of_rows, finer = floats[: OF_ROW * rows].reshape(-1, OF_ROW), floats[OF_ROW * rows :]
    _refuse_senseless(of_rows, finer, centre, layout.metric, path)
    chunks = chunks_of(dimension)
    high: Bytes = np.frombuffer(memory, np.uint8, layout.half, start + layout.high)
    low: Bytes = np.frombuffer(memory, np.uint8, layout.half, start + layout.low)
    signs: Bytes = np.frombuffer(memory, np.uint8, layout.signed, start + layout.signs)
    tile = tile_rows(dimension)
    codes = Codes(
        rows,
        Frame(seed, centre, layout.metric),
        high.reshape(-1, BLOCK // tile, chunks, tile, 4),
        low.reshape(rows, chunks, 4),
        of_rows,
        finer,
        signs.reshape(-1, signs_bytes(dimension)),
    )
    factors, own_sides = factors_and_sides(codes, slice(None))
    if not ((factors >= 0) & (factors <= LARGEST)).all():
        raise ValueError(f"{path} has factors of signs that are none")
    if not ((own_sides == of_rows[:, SIDE]) | np.isnan(own_sides)).all():
        raise ValueError(f"{path} contradicts the copy beside its signs")
    return codes


def _refuse_senseless(
    of_rows: Matrix, finer: Matrix, centre: Matrix, metric: Metric, path: Path
) -> None:
    scales, residuals, sides, reaches = (of_rows[:, i] for i in range(OF_ROW))
    bounds = all((a >= 0).all() for a in (residuals, finer, reaches, scales))
    small = all((np.abs(a) <= LARGEST).all() for a in (scales, sides, reaches, centre))
    is_direction = metric == "l2" or abs(float(centre @ centre) - 1) < ROUNDED
    if not (bounds and small and is_direction):
        raise ValueError(f"{path} has bounds, or a centre, that are none")
