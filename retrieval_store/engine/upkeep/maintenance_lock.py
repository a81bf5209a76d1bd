"""The lock by which one thread of one process at a time does maintenance in a directory."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from retrieval_store.base import system
from retrieval_store.engine.access import Access
from retrieval_store.engine.concurrency import FifoLock, reset_after_fork, tries
from retrieval_store.engine.database.failures import translated
from retrieval_store.engine.storage.files import LOCK_NAME

T = TypeVar("T")
_SAFELY = system.CLOSE_ON_EXEC | system.NO_FOLLOW | system.NO_WAITING


class _Locks:
    """For each directory the lock among this process' threads, by which they wait in line; and the
    files whose locks they hold."""

    def __init__(self) -> None:
        self._of_threads: dict[Path, FifoLock] = {}
        self.files: set[BinaryIO] = set()
        reset_after_fork(self)

    def at(self, directory: Path) -> FifoLock:
        """That of a directory."""
        return self._of_threads.setdefault(directory, FifoLock())

    def forget_after_fork(self) -> None:
        """In a child: no thread does maintenance. The parent's files are closed, else their locks
        would outlive it."""
        self._of_threads, files = {}, self.files
        self.files = set()
        for file in files:
            file.close()


_locks = _Locks()


def as_only_process(points: Access, milliseconds: int, work: Callable[[bool], T]) -> T:
    """What `work` returns, told whether this is now the one thread of all processes that may do
    maintenance; it isn't when another one has been at it for that time."""
    directory = points.directory
    if directory is None or points.is_read_only:
        return work(not points.is_read_only)
    return _locks.at(directory).take_within(
        milliseconds / 1000,
        lambda: _with_lock_file(directory, milliseconds, work),
        lambda: work(False),
    )


def _with_lock_file(directory: Path, milliseconds: int, work: Callable[[bool], T]) -> T:
    """The lock belongs to the open file: it is free when the process dies, and not before because
    the file was opened and closed elsewhere in it, as POSIX locks are."""
    with _lock_file(directory / LOCK_NAME) as file:
        _locks.files.add(file)
        try:
            return work(any(_is_locked(file) for _ in tries(milliseconds)))
        finally:
            _locks.files.discard(file)
            if not file.closed:  # as in a child that was forked meanwhile, whose lock it isn't
                system.fcntl.flock(file, system.fcntl.LOCK_UN)


def _lock_file(path: Path) -> BinaryIO:
    def open_safely(name: str, flags: int) -> int:
        return os.open(name, flags | _SAFELY, 0o644)

    with translated(path):
        return open(path, "ab", buffering=0, opener=open_safely)


def _is_locked(file: BinaryIO) -> bool:
    with suppress(BlockingIOError):
        system.fcntl.flock(file, system.fcntl.LOCK_EX | system.fcntl.LOCK_NB)
        return True
    return False
