"""What queries look for in a pass over codes or vectors, and what they have found.

Everything lies in one buffer, so that one address is asked for: allocating and addressing a dozen
small arrays takes longer than looking at thousands of rows.
"""

from struct import Struct

import numpy as np

from retrieval_store.base.arrays import Bytes, Floats, Ints
from retrieval_store.indexes.native.library import SOUGHT, WORD, address

NOTED_FACTOR = 8  # rows noted, against how many there may be at last: the best may come last
FOR_EACH, LEAST_MOST = 4, 64  # rows are left for each hit, even where they are easy to tell apart
Candidates = Ints | None


def most_left(count: int, share: int, k: int) -> int:
    """How many of so many rows may be left: one in `share`, but at least what k hits leave where
    all goes well."""
    return max(count // share, FOR_EACH * k + LEAST_MOST)


class Sought:
    """The SOUGHTs of some queries, and room behind them for what else a pass is told.

    k: of how many nearest; most: how many rows may be left of a query before it is hard; floor: of
    the scores looked for. at: the address of the first SOUGHT; room: of what comes behind.
    """

    def __init__(
        self, queries: int, k: int, most: int, room: int = 0, floor: float = -np.inf
    ) -> None:
        self._queries, self._most, self._capacity = queries, most, NOTED_FACTOR * most + 1
        row = WORD * (2 * self._capacity + k)
        heads = SOUGHT.size * queries
        self.buffer: Bytes = np.empty(heads + queries * row + room, np.uint8)
        self.at = address(self.buffer)
        self.room_offset = heads + queries * row
        for query in range(queries):
            slots = heads + query * row
            uppers = slots + WORD * self._capacity
            best = uppers + WORD * self._capacity
            places = self.at + slots, self.at + uppers
            limits = self._capacity, most * (NOTED_FACTOR - 1)  # of rows at any time
            state = (floor, self.at + best, k, 0, *places, 0, *limits, 0)
            self.put(SOUGHT, SOUGHT.size * query, *state)

    @property
    def room(self) -> int:
        """The address of the room."""
        return self.at + self.room_offset

    def put(self, kind: Struct, offset: int, *values: float) -> None:
        """Write a structure into the buffer."""
        kind.pack_into(self.buffer.data, offset, *values)

    def candidates(self) -> list[Candidates]:
        """For each query the slots of rows that may be among the nearest, in no order; None for
        hard ones."""
        return [self._candidates_of(query) for query in range(self._queries)]

    def _candidates_of(self, query: int) -> Candidates:
        state = SOUGHT.unpack_from(self.buffer.data, SOUGHT.size * query)
        floor, first, found, hard = state[0], state[4] - self.at, state[6], state[9]
        if hard:
            return None
        uppers = first + WORD * self._capacity
        bounds: Floats = self.buffer[uppers : uppers + WORD * found].view(np.float64)
        slots: Ints = self.buffer[first : first + WORD * found].view(np.int64)
        kept: Ints = slots[~(bounds < floor)]
        return kept if len(kept) <= self._most else None
