"""SQLite against databases that a stranger may have made.

What is compared: the schema, to the letter. What is refused: whatever SQLite would obey or hang at
beside a database. What is switched off: triggers, views, and functions that a schema calls. What is
bounded: how long one use of a connection takes.
"""

import os
import stat
from collections.abc import Mapping
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path

import apsw

from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.errors import DamagedError

# Of SQLite's virtual machine, some 10 ns each: how often Ctrl-C is looked for; and how many one use
# of a connection may take, of which nothing honest comes near: a tree whose pages lead to the same
# pages again and again is endless, whatever its checksums say.
STEPS_AT_ONCE = 1_000_000
MOST_STEPS, STEPS_A_BYTE = 300_000_000, 100
_COMPANIONS = ("-wal", "-shm")
_JOURNAL = "-journal"
_SAFE = {
    apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER: 0,
    apsw.SQLITE_DBCONFIG_ENABLE_VIEW: 0,
    apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA: 0,
    apsw.SQLITE_DBCONFIG_DEFENSIVE: 1,
}


@dataclass(frozen=True, slots=True)
class Format:
    """What one kind of database of ours is made of. schema: of the first version; migrations: for
    each older version what makes the next one of it; readable: the oldest version that can be read
    as it is; main_table: one that is there in all versions."""

    application_id: int
    version: int
    main_table: str
    schema: str
    migrations: Mapping[int, str] = field(default_factory=dict)
    readable: int = 1

    def statements(self, version: int) -> str:
        """What makes a database of that version."""
        return "".join([self.schema, *(self.migrations[v] for v in range(1, version))])


class Steps:
    """Counts the steps of a connection, and says when they are too many; called by SQLite now and
    then, which is also where Ctrl-C comes in. path: of the database, None in memory."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.taken = 0

    def __call__(self) -> bool:
        self.taken += STEPS_AT_ONCE
        if self.path is None or self.taken <= MOST_STEPS:
            return False
        held = sum(_size_of(f"{self.path}{end}") for end in ("", *_COMPANIONS))
        return self.taken > MOST_STEPS + STEPS_A_BYTE * held


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def guard(connection: apsw.Connection, path: Path | None) -> Steps:
    """Set a connection on guard; returns what counts its steps. path: None in memory."""
    for option, value in _SAFE.items():
        connection.config(option, value)
    steps = Steps(path)
    connection.set_progress_handler(steps, STEPS_AT_ONCE)
    return steps


def refuse_odd_files_beside(path: Path) -> None:
    """Raise DamagedError when SQLite would find something beside a database that isn't ours. Our
    databases have no journals; one that another program has put there can hang SQLite, change the
    database, and, with an old SQLite, have any file deleted."""
    if os.path.lexists(f"{path}{_JOURNAL}"):
        raise DamagedError(
            f"{path}{_JOURNAL} isn't a file of retrieval-store, and SQLite would obey it: look "
            "where it comes from, and take it away"
        )
    for name in _COMPANIONS:
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(f"{path}{name}").st_mode):
                raise DamagedError(f"{path}{name} is not a regular file")


def refuse_other_schema(connection: apsw.Connection, statements: str, path: Path) -> None:
    """Raise DamagedError unless the database consists of what the statements make."""
    expected = _made_by(statements)
    if _schema(connection, len(expected) + 1) != expected:
        raise DamagedError(f"{path} is damaged: its tables aren't those of this format")


@lru_cache(maxsize=16)
def _made_by(statements: str) -> list[tuple[str, ...]]:
    with closing(apsw.Connection(":memory:")) as connection:
        connection.execute(statements)
        return _schema(connection, -1)


def _schema(connection: apsw.Connection, most: int) -> list[tuple[str, ...]]:
    """What the database is made of, in an order of its own, without white space; no more than
    `most` of it, unless that is -1."""
    query = "SELECT type, name, tbl_name, sql FROM sqlite_schema LIMIT ?"
    rows = connection.execute(query, (most,)).fetchall()
    return sorted(tuple("".join(str(value).split()) for value in row) for row in rows)
