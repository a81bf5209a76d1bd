"""What queries look for in a pass over codes or vectors, and what they have found.

Everything lies in one buffer, which later passes use again: allocating and addressing a dozen small
arrays takes longer than looking at thousands of rows.
"""

from struct import Struct
from typing import NamedTuple

import numpy as np

from retrieval_store.base.arrays import Bytes, Floats, Ints, Matrix
from retrieval_store.indexes.native.library import SOUGHT, WORD, address

NOTED_FACTOR = 8  # rows noted, against how many there may be at last: the best may come last
FOR_EACH, LEAST_MOST = 4, 64  # rows are left for each hit, even where they are easy to tell apart
LEAST_BUFFER, LARGEST_KEPT, MOST_KEPT = 16_384, 1_048_576, 16  # bytes; bytes; buffers
Candidates = Ints | None
# Buffers that no pass is using, with their addresses. A pass takes one out and puts it back: each
# is a single step, so that threads, and signal handlers that search too, don't share one.
_kept: list[tuple[Bytes, int]] = []


class Decided(NamedTuple):
    """What was found for one query, nearest first, with distances in float64. chosen: how many of
    these are the k nearest and those that are as far as the k-th; the others were candidates only.
    tied: whether any of the chosen are equally far, which are in no particular order then."""

    slots: Ints
    distances: Floats
    chosen: int
    tied: bool


def decided(slots: Ints, distances: Floats, k: int) -> Decided:
    """The same for slots in any order, given all their distances; of the chosen alone."""
    if 0 < k < len(slots):
        chosen = np.flatnonzero(distances <= np.partition(distances, k - 1)[k - 1])
        slots, distances = slots[chosen], distances[chosen]
    order = np.argsort(distances)
    return Decided(slots[order], distances[order], len(order), tied=True)


def most_left(count: int, share: int, k: int) -> int:
    """How many of so many rows may be left: one in `share`, but at least what k hits leave where
    all goes well."""
    return max(count // share, FOR_EACH * k + LEAST_MOST)


class Sought:
    """The SOUGHTs of some queries, and room behind them for what else a pass is told.

    queries: how many; k: of how many nearest; most: how many rows may be left of a query before it
    is hard; floor: of the scores looked for. at: the address of the first SOUGHT; room: of what
    comes behind.
    """

    def __init__(
        self, queries: int, k: int, most: int, room: int = 0, floor: float = -np.inf
    ) -> None:
        self.queries, self._most, self._capacity = queries, most, NOTED_FACTOR * most + 1
        row = WORD * (2 * self._capacity + k)
        heads = SOUGHT.size * queries
        self.room_offset = heads + queries * row
        self.buffer, self.at = _buffer(self.room_offset + room)
        self._memory = self.buffer.data
        for query in range(queries):
            slots = heads + query * row
            uppers = slots + WORD * self._capacity
            best = uppers + WORD * self._capacity
            places = self.at + slots, self.at + uppers
            limits = self._capacity, most * (NOTED_FACTOR - 1), most  # of rows at any time; at last
            state = (floor, self.at + best, k, 0, *places, 0, *limits, 0, 0, 0)
            self.put(SOUGHT, SOUGHT.size * query, *state)

    @property
    def room(self) -> int:
        """The address of the room."""
        return self.at + self.room_offset

    def put(self, kind: Struct, offset: int, *values: float) -> None:
        """Write a structure into the buffer."""
        kind.pack_into(self._memory, offset, *values)

    def put_vector(self, offset: int, vector: Matrix) -> None:
        """Write float32 numbers into the buffer."""
        self._memory[offset : offset + vector.nbytes] = vector.tobytes()

    def let_go(self) -> None:
        """Leave the buffer to later passes; nothing of this one is asked for any more."""
        if len(self.buffer) <= LARGEST_KEPT and len(_kept) < MOST_KEPT:
            _kept.append((self.buffer, self.at))

    def candidates(self) -> list[Candidates]:
        """For each query the slots of rows that may be among the nearest, in no order; None for
        hard ones."""
        return [self._candidates_of(query) for query in range(self.queries)]

    def _candidates_of(self, query: int) -> Candidates:
        state = SOUGHT.unpack_from(self._memory, SOUGHT.size * query)
        floor, hard = state[0], state[10]
        if hard:
            return None
        slots, bounds = self._found(state)
        kept: Ints = slots[~(bounds < floor)]
        return kept if len(kept) <= self._most else None

    def decided(self, query: int) -> Decided | None:
        """What was decided of a query; None for a hard one."""
        state = SOUGHT.unpack_from(self._memory, SOUGHT.size * query)
        if state[10]:
            return None
        slots, distances = self._found(state)
        return Decided(slots.copy(), distances.copy(), state[11], bool(state[12]))

    def _found(self, state: tuple[float, ...]) -> tuple[Ints, Floats]:
        first, found = int(state[4]) - self.at, int(state[6])
        uppers = first + WORD * self._capacity
        bounds: Floats = self.buffer[uppers : uppers + WORD * found].view(np.float64)
        slots: Ints = self.buffer[first : first + WORD * found].view(np.int64)
        return slots, bounds


def _buffer(size: int) -> tuple[Bytes, int]:
    """At least so many bytes, and their address."""
    try:
        kept = _kept.pop()
    except IndexError:
        kept = None
    if kept is not None and len(kept[0]) >= size:
        return kept
    buffer = np.empty(max(size, LEAST_BUFFER), np.uint8)
    return buffer, address(buffer)
