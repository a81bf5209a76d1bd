"""Queries and transactions on a connection.

A transaction is a `with` on the connection itself, which is made of C, around a function that is
called back; see `locking` for why.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any, Protocol, TypeVar

import apsw

from retrieval_store.engine.database.guards import Format
from retrieval_store.errors import StorageError

# Rows of one query, from which on they are counted. More than are ever read at once by keys, which
# may name the same row many times.
MANY_ROWS = 32_768
PAGE_BYTES, LEAST_ROW = 4096, 6  # a row has its place in a page, its length, its key and its types
T = TypeVar("T")


def select(connection: apsw.Connection, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """All rows of a query at once, so that no statement stays open. More of them than the database
    has room for come from a tree whose pages lead to the same pages again and again."""
    cursor = connection.execute(query, parameters)
    try:
        rows = list(islice(cursor, MANY_ROWS))
        if len(rows) == MANY_ROWS:
            most = connection.pragma("page_count") * PAGE_BYTES // LEAST_ROW
            rows += islice(cursor, most)
            if len(rows) > most:
                raise apsw.CorruptError(f"a query finds more than {most} rows in it")
    finally:
        cursor.close(True)  # which the traceback of an error would keep open
    return rows


class _Transaction(Protocol):
    """What a connection is in a `with` block: a transaction, which errors end and come out of."""

    def __enter__(self) -> object: ...
    def __exit__(self, *error: Any) -> None: ...


def rolled_back_after_errors(connection: apsw.Connection) -> _Transaction:
    """The connection, for a `with` block that is a transaction, which shows what there is at its
    first look."""
    return connection  # type: ignore[return-value]


def in_transaction(connection: apsw.Connection, work: Callable[[apsw.Connection], T]) -> T:
    """What `work` returns, in a transaction."""
    with rolled_back_after_errors(connection):
        return work(connection)


def writing(connection: apsw.Connection, format: Format, work: Callable[[apsw.Connection], T]) -> T:
    """The same in a write transaction, which is committed unless `work` raises."""
    if connection.in_transaction:
        raise StorageError("a write can't be part of a read or of another write")

    def write(connection: apsw.Connection) -> T:
        # It waits here for the lock, and below for the disk. Where apsw itself begins and ends a
        # transaction it keeps the interpreter meanwhile, so what it ends is an empty one.
        connection.execute(f"DELETE FROM {format.main_table} WHERE 0")
        result = work(connection)
        connection.execute("COMMIT; BEGIN")
        return result

    return in_transaction(connection, write)
