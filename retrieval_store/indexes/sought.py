"""What queries look for in a pass over codes or vectors, and what they have found.

Everything lies in one buffer, which later passes use again as it is: to allocate, address and fill
in a dozen small arrays takes longer than to look at thousands of rows.
"""

from struct import Struct
from typing import NamedTuple

import numpy as np

from retrieval_store.base.arrays import Bytes, Floats, Ints, Matrix
from retrieval_store.indexes.native.library import SOUGHT, WORD, address

NOTED_FACTOR = 8  # rows noted, against how many there may be at last: the best may come last
FOR_EACH, LEAST_MOST = 4, 64  # rows are left for each hit, even where they are easy to tell apart
Candidates = Ints | None
LARGEST_KEPT = 1_048_576  # bytes of one that is kept, with others of its sizes:
KEPT_OF_SIZES, MOST_SIZES = 4, 8
# Those that no pass is using, by their sizes. A pass takes one out and puts it back: each is a
# single step, so that threads, and signal handlers that search too, don't share one.
_kept: "dict[tuple[float, ...], list[Sought]]" = {}


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
    is hard; room: bytes; floor: of the scores looked for. at: the address of the first SOUGHT;
    room_at: of what comes behind, room_offset: its place in the buffer.
    """

    def __init__(self, queries: int, k: int, most: int, room: int, floor: float) -> None:
        self.queries, self._most, self._capacity = queries, most, NOTED_FACTOR * most + 1
        self._size = queries, k, most, room, floor
        row = WORD * (2 * self._capacity + k)
        heads = SOUGHT.size * queries
        self.room_offset = heads + queries * row
        self.buffer: Bytes = np.empty(self.room_offset + room, np.uint8)
        self.at = address(self.buffer)
        self.room_at = self.at + self.room_offset
        self._memory = self.buffer.data
        for query in range(queries):
            slots = heads + query * row
            uppers = slots + WORD * self._capacity
            best = uppers + WORD * self._capacity
            places = self.at + slots, self.at + uppers
            limits = self._capacity, most * (NOTED_FACTOR - 1), most  # of rows at any time; at last
            state = (floor, self.at + best, k, 0, *places, 0, *limits, 0, 0, 0)
            self.put(SOUGHT, SOUGHT.size * query, *state)
        self._heads = bytes(self._memory[:heads])

    @classmethod
    def of(cls, queries: int, k: int, most: int, room: int = 0, floor: float = -np.inf) -> "Sought":
        """One of these sizes in which nothing is found yet, perhaps one that was used before."""
        try:
            kept = _kept[queries, k, most, room, floor].pop()
        except (KeyError, IndexError):
            return cls(queries, k, most, room, floor)
        kept._memory[: len(kept._heads)] = kept._heads
        return kept

    def put(self, kind: Struct, offset: int, *values: float) -> None:
        """Write a structure into the buffer."""
        kind.pack_into(self._memory, offset, *values)

    def put_vector(self, offset: int, vector: Matrix) -> None:
        """Write float32 numbers into the buffer."""
        self._memory[offset : offset + vector.nbytes] = vector.tobytes()

    def let_go(self) -> None:
        """Leave it to later passes; nothing of this one is asked for any more."""
        if len(self.buffer) > LARGEST_KEPT:
            return
        if len(_kept) > MOST_SIZES:
            _kept.clear()
        alike = _kept.setdefault(self._size, [])
        if len(alike) < KEPT_OF_SIZES:
            alike.append(self)

    def candidates(self) -> list[Candidates]:
        """For each query the slots of rows that may be among the nearest, in no order; None for
        hard ones."""
        return [self._candidates_of(query) for query in range(self.queries)]

    def _candidates_of(self, query: int) -> Candidates:
        state = SOUGHT.unpack_from(self._memory, SOUGHT.size * query)
        floor, hard = state[0], state[10]
        if hard:
            return None
        first, found = state[4] - self.at, state[6]
        uppers = first + WORD * self._capacity
        bounds: Floats = self.buffer[uppers : uppers + WORD * found].view(np.float64)
        slots: Ints = self.buffer[first : first + WORD * found].view(np.int64)
        kept: Ints = slots[~(bounds < floor)]
        return kept if len(kept) <= self._most else None

    def decided(self, query: int) -> Decided | None:
        """What was decided of a query; None for a hard one."""
        state = SOUGHT.unpack_from(self._memory, SOUGHT.size * query)
        if state[10]:
            return None
        first, size = state[4] - self.at, WORD * state[6]
        uppers = first + WORD * self._capacity
        return Decided(
            np.frombuffer(bytes(self._memory[first : first + size]), np.int64),
            np.frombuffer(bytes(self._memory[uppers : uppers + size]), np.float64),
            state[11],
            state[12] != 0,
        )
