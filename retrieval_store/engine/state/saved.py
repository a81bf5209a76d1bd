"""What was saved by some process of what is kept here: read if it is of use, and caught up."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import apsw
import numpy as np

from retrieval_store.base.arrays import Ints
from retrieval_store.base.tracing import log_of
from retrieval_store.engine.state.layers import united
from retrieval_store.engine.state.state import AnyView, rows_of
from retrieval_store.engine.storage.derived import DerivedFile, find, path_of, refuse_damaged
from retrieval_store.engine.storage.log import read_changes
from retrieval_store.errors import DamagedError

T = TypeVar("T")
_log = log_of("files")


class OutdatedError(ValueError):
    """A file is of no use any more, though nothing is wrong with it: so much has been written since
    that the change log doesn't tell what, or it was written as files were before."""


def saved(
    view: AnyView,
    key: str,
    what: str,
    read: Callable[[Path, DerivedFile], T],
    reject: Callable[[], object],
) -> T | None:
    """What `read` makes of the file of this key, if there is one that is whole and true. `reject`
    is told of one that is of no use, and the log of `what` it has of one that is damaged."""
    if view.directory is None:
        return None
    return in_file(view.connection, view.directory, view.name, key, what, read, reject)


def in_file(
    connection: apsw.Connection,
    directory: Path,
    name: str,
    key: str,
    what: str,
    read: Callable[[Path, DerivedFile], T],
    reject: Callable[[], object],
) -> T | None:
    """The same of the collection of this name in that directory, before there is a view of it."""
    found = find(connection, key)
    if found is None:
        return None
    try:
        path = path_of(directory, found)
        refuse_damaged(path, found)
        content = read(path, found)
        _log.debug("loaded %s", path)
        return content
    except OutdatedError:
        reject()
    except (DamagedError, ValueError, LookupError, TypeError, OSError) as error:
        _log.warning(
            "%s of collection %r can't be used and will be made again: %s", what, name, error
        )
        reject()
    return None


def stale_since(view: AnyView, seq: int, covered: int, parts: int) -> Ints:
    """The rows of which such parts were written since the write `seq`, when `covered` was the next
    pk. OutdatedError when the change log doesn't tell that any more."""
    if view.state.head.log_floor > seq:
        raise OutdatedError("a file is older than the change log")
    pks = view.state.pks
    changed = rows_of(pks, read_changes(view.connection, seq).of(parts))
    fresh = np.arange(np.searchsorted(pks, covered), len(pks))
    return united(changed[changed >= 0], fresh)
