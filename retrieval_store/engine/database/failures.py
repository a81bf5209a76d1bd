"""What goes wrong in a database, as errors of ours that name its file.

Errors of SQLite and the system are *translated*. Corrupt content whose checksums are right leads to
errors of Python's own (`CORRUPTION_ERRORS`). Where nothing is done but reading such content they
are damage, and a ContradictionError always is; elsewhere they may as well be programming errors,
and a check of all bytes decides (`Access.read`).
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from retrieval_store.errors import (
    DamagedError,
    LockTimeoutError,
    RetrievalStoreError,
    StorageError,
    StorageFullError,
)

LOCK_TIMEOUT_MS = 30_000
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of SQLite and the system as ours, naming the file."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise translation(error, path) from error


def translation(error: BaseException, path: Path) -> RetrievalStoreError:
    """The error of ours that one of SQLite or the system stands for."""
    match error:
        case RetrievalStoreError():
            return error
        case apsw.BusyError():
            return locked_for_too_long(str(path), path)
        case apsw.FullError():
            return StorageFullError(f"no space left for {path}; nothing was written")
        case apsw.CorruptError() | apsw.NotADBError():
            return DamagedError(f"{path} is damaged: {error}")
        case apsw.IOError() if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA:
            return DamagedError(f"{path} is damaged: a page's checksum is wrong")
        case apsw.InterruptError():
            return DamagedError(f"{path} is damaged: reading it would take for ever")
        case apsw.TooBigError():
            return StorageError(f"{path}: one document or payload is larger than 1 GB")
        case apsw.CantOpenError() if path.exists() and not os.access(path.parent, os.W_OK):
            return StorageError(
                f"{path}: {error}; where nothing can be written open the store with read_only=True"
            )
        case OSError() if error.errno in NO_SPACE:
            return StorageFullError(f"no space left below {path.parent}: {error}")
    return StorageError(f"{path}: {error}")


def locked_for_too_long(what: str, path: Path) -> LockTimeoutError:
    """The error of a database in which another process has been writing for too long. what: how it
    is named."""
    from retrieval_store.base.system import by_holder_of

    # A writer holds this byte of SQLite's shared memory (WAL_WRITE_LOCK in its wal.c).
    holder = by_holder_of(path.with_name(f"{path.name}-shm"), 120)
    waited = LOCK_TIMEOUT_MS // 1000
    return LockTimeoutError(f"{what} was locked by another writer for more than {waited} s{holder}")


class ContradictionError(ValueError):
    """What is stored contradicts itself, as a check of it has found."""


CORRUPTION_ERRORS = (LookupError, OverflowError, TypeError, ValueError)


@contextmanager
def corruption_as_damage(path: Path) -> Iterator[None]:
    """Errors that only stored values can lead to, as damage: who wrote them kept the checksums
    right, so it is their use that shows it."""
    try:
        yield
    except RetrievalStoreError:
        raise
    except CORRUPTION_ERRORS as error:
        raise corruption_error(error, path) from error


def corruption_error(error: Exception, path: Path, problem: str | None = None) -> DamagedError:
    """The damage that such an error is the sign of. problem: what a check of the files said."""
    said = f"{path} is damaged: what it holds contradicts itself: {error}"
    return DamagedError(said if problem is None else f"{said} ({problem})")
