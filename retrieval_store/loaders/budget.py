"""How much may be used at once, over all threads of the process."""

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
PARTS = 32


class Budget:
    """A total of something, such as pixels being decoded: who finds too little of it left waits.

    It is cut into parts, each of which is a lock, and an amount takes as many of them as it needs.
    Locks, since `with` on a plain one is what an interrupt can't split from its release; a count
    of what is left could go wrong for ever.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._turns = itertools.count()
        self.forget_after_fork()

    def forget_after_fork(self) -> None:
        """In a forked child: the threads that held parts of it aren't there."""
        self._locks = [threading.Lock() for _ in range(PARTS)]

    def spend(self, amount: int, work: Callable[[], T]) -> T:
        """What `work` gives, done while it has so much of the total: all of it, if it is more."""
        return _holding(self._parts(amount), work)

    def _parts(self, amount: int) -> Sequence[threading.Lock]:
        """1, 2, 4, … parts that lie side by side; such groups take turns."""
        needed = 1
        while needed < PARTS and needed * self._total < amount * PARTS:
            needed *= 2
        first = next(self._turns) * needed % PARTS
        return self._locks[first : first + needed]


def _holding(locks: Sequence[threading.Lock], work: Callable[[], T]) -> T:
    # Always from left to right, so that no two can wait for each other.
    if not locks:
        return work()
    with locks[0]:
        return _holding(locks[1:], work)
