"""One deadline for all that loading a uri takes."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TypeVar

from retrieval_store.errors import DataLoaderError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadline:
    """So many seconds from when it was set; `end` by time.monotonic()."""

    seconds: float
    end: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """One that begins now."""
        return cls(seconds, time.monotonic() + seconds)

    def left(self) -> float:
        """The seconds left, always more than none: DataLoaderError when it has passed."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise self._passed()
        return left

    def wait_for(self, work: Callable[[], T]) -> T:
        """What `work` gives, for calls that nothing can interrupt, such as looking up a name: a
        thread of its own does it, and is left behind when the deadline passes first."""
        promised: Future[T] = Future()
        threading.Thread(target=_keep, args=(promised, work), daemon=True).start()
        wait([promised], self.left())
        if not promised.done():
            raise self._passed()
        return promised.result()

    def _passed(self) -> DataLoaderError:
        return DataLoaderError(f"it took longer than timeout, {self.seconds} s")


def _keep(promised: "Future[T]", work: Callable[[], T]) -> None:
    try:
        promised.set_result(work())
    except BaseException as error:
        promised.set_exception(error)
