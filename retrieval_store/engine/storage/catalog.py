"""catalog.sqlite: the collections of a store, by name, by alias and by id.

To delete a collection, its row in the catalog is flagged first; then its points.sqlite records the
deletion, and its files are removed; the row is removed last. If a process dies during these steps,
the next process finds the flag and finishes the deletion.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import apsw
import orjson

from retrieval_store.engine.sqlite import (
    CORRUPTION_ERRORS,
    Database,
    Format,
    Reason,
    corruption_as_damage,
    corruption_error,
    select,
)
from retrieval_store.errors import (
    AlreadyExistsError,
    NotFoundError,
    RetrievalStoreError,
)
from retrieval_store.query.types import CollectionRecord

# Directories of collections whose creation isn't finished. They are recorded here before they are
# created.
_SINCE_2 = "CREATE TABLE unfinished (id TEXT PRIMARY KEY) WITHOUT ROWID;"
# Each use of the catalog looks for flagged collections first, and nearly always there are none.
_SINCE_3 = "CREATE INDEX flagged ON collections (id) WHERE dropping;"
# Aliases refer to the ids of collections, so that they stay valid if a collection is renamed.
# `apart` marks collections that only QdrantClient can use, so that counting the others reads no
# settings.
_SINCE_4 = """
    CREATE TABLE aliases (alias TEXT PRIMARY KEY, collection TEXT NOT NULL) WITHOUT ROWID;
    ALTER TABLE collections ADD COLUMN apart INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX apart ON collections (id) WHERE apart;
"""
CATALOG = Format(
    application_id=0x52536361,  # "RSca"
    version=4,
    main_table="collections",
    migrations={1: _SINCE_2, 2: _SINCE_3, 3: _SINCE_4},
    schema="""
        CREATE TABLE collections (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            settings BLOB NOT NULL,
            dropping INTEGER NOT NULL DEFAULT 0
        );
    """,
)
STAYS, DROPPING, REPLACED = 0, 1, 2  # values of `dropping`
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_NONE = "[]"
_WITHOUT = "WHERE id NOT IN (SELECT value FROM json_each(?))"
# The number of all collections, which SQLite counts by pages, less the excluded ones. So it doesn't
# read each row.
_COUNTED = """
    SELECT (SELECT count(*) FROM collections)
         - (SELECT count(*) FROM collections WHERE id IN (SELECT value FROM json_each(?)))
"""


class Catalog:
    """The database of a store's collections, which `Entries` reads and changes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(
        self, look: Callable[["Entries", *Ts], T], *arguments: *Ts, without: Sequence[str] = ()
    ) -> T:
        """Call `look` with the entries in one read transaction and these arguments, and return its
        result. without: ids of collections that the entries leave out."""
        return self._database.read(partial(self._call, look, arguments, without))

    def without_transaction(self, name: str) -> CollectionRecord | None:
        """The collection with this name, found by a single statement without a transaction. Returns
        None if there is no such collection, if its deletion was interrupted, or if reading failed.
        The caller then uses `read`, which raises the error."""
        return self._database.without_transaction(_record_named, name)

    def write(self, change: Callable[["Entries", *Ts], T], *arguments: *Ts) -> T:
        """Call `change` with the entries in a write transaction and these arguments, and return its
        result. Only one process at a time has a write transaction."""
        return self._database.write(partial(self._call, change, arguments, ()))

    def _call(
        self,
        work: Callable[["Entries", *Ts], T],
        arguments: tuple[*Ts],
        without: Sequence[str],
        connection: apsw.Connection,
    ) -> T:
        return work(Entries(connection, self._database.path, without), *arguments)

    def refuse_if_read_only(self) -> None:
        """Raise ReadOnlyError if the store was opened read-only."""
        self._database.refuse_if_read_only()

    def is_in_place(self) -> bool:
        """Whether the path still leads to the catalog that was opened."""
        return self._database.is_in_place()

    def close_at_exit(self) -> None:
        """Close the files before the process ends; a later call opens them again."""
        self._database.close_at_exit()

    def close(self, reason: Reason) -> None:
        """Close the file; later calls of methods raise `reason`."""
        self._database.close(reason)


class Entries:
    """The collections in the catalog, read and changed in a transaction of a connection."""

    def __init__(
        self, connection: apsw.Connection, path: Path, without: Sequence[str] = ()
    ) -> None:
        self._connection = connection
        self._path = path
        self._without = orjson.dumps(list(without)).decode() if without else _NONE

    def by_name(self, name: str) -> CollectionRecord:
        """The collection with this name. Raises NotFoundError if there is no such collection."""
        records = self._records("AND name = ?", name)
        if not records:
            raise NotFoundError(f"there is no collection {name!r}")
        return records[0]

    def resolve(self, name: str) -> CollectionRecord:
        """The collection with this name or alias. Raises NotFoundError if there is no such
        collection."""
        records = self._records("AND name = ?", name)
        if not records and self._has_aliases():
            query = "AND id = (SELECT collection FROM aliases WHERE alias = ?)"
            records = self._records(query, name)
        if not records:
            raise NotFoundError(f"there is no collection or alias {name!r}")
        return records[0]

    def aliases(self) -> dict[str, str]:
        """The aliases in sorted order, each with the name of its collection."""
        if not self._has_aliases():
            return {}
        query = f"""SELECT alias, name FROM aliases JOIN collections ON id = collection
                    {_WITHOUT} ORDER BY alias"""
        with corruption_as_damage(self._path):
            return dict(select(self._connection, query, self._without))

    def set_aliases(self, aliases: Mapping[str, str]) -> None:
        """Replace all aliases. Raises NotFoundError if an alias leads to a missing collection, and
        AlreadyExistsError if an alias is the name of a collection."""
        records = []
        for alias, name in aliases.items():
            if self._records("AND name = ?", alias):
                raise AlreadyExistsError(
                    f"alias {alias!r} is the name of a collection; expected another"
                )
            records.append((alias, self.by_name(name).id))
        self._connection.execute("DELETE FROM aliases")
        self._connection.executemany("INSERT INTO aliases VALUES (?, ?)", records)

    def _has_aliases(self) -> bool:
        """Whether there can be aliases. Formats before 4, which can be read without migration, have
        no aliases."""
        return bool(self._connection.pragma("user_version") >= 4)

    def with_id(self, collection_id: str) -> CollectionRecord:
        """The collection with this id. Raises NotFoundError if there is no such collection."""
        records = self._records("AND id = ?", collection_id)
        if not records:
            raise NotFoundError.of_deleted(f"Collection with id {collection_id}")
        return records[0]

    def page(self, limit: int | None, offset: int) -> list[CollectionRecord]:
        """At most `limit` collections (None: all), sorted by name, after `offset` of them are
        skipped."""
        end = -1 if limit is None else limit
        return self._records("ORDER BY name LIMIT ? OFFSET ?", end, offset)

    def count(self) -> int:
        """The number of collections."""
        ((count,),) = select(self._connection, _COUNTED, self._without)
        return int(count)

    def flagged_collections(self) -> list[tuple[CollectionRecord, bool]]:
        """The collections whose deletion has begun, each with whether another collection has
        replaced it. The deletion may have been interrupted. A replaced collection is deleted even
        if its points.sqlite doesn't say so."""
        replaced = {record.id for record in self._records("AND dropping = ?", REPLACED)}
        return [(record, record.id in replaced) for record in self._records("AND dropping")]

    def has_flagged(self) -> bool:
        """Whether any collection is flagged. Called at each use of the catalog."""
        query = "SELECT 1 FROM collections WHERE dropping LIMIT 1"
        return self._connection.execute(query).get is not None

    def unfinished_ids(self) -> list[str]:
        """The ids of collections whose creation has begun, and was neither completed nor given
        up."""
        with corruption_as_damage(self._path):
            rows = select(self._connection, "SELECT id FROM unfinished")
            return [_check_id(collection_id) for (collection_id,) in rows]

    def begin(self, collection_id: str) -> None:
        """Record that a collection's directory is about to be created. Raises AlreadyExistsError if
        a collection has this id, because the directory of a complete collection must never count as
        unfinished."""
        self._refuse_id(collection_id)
        self._connection.execute("INSERT INTO unfinished VALUES (?)", (collection_id,))

    def is_there(self, collection_id: str) -> bool:
        """Whether a collection has this id."""
        query = "SELECT 1 FROM collections WHERE id = ?"
        return bool(select(self._connection, query, collection_id))

    def give_up(self, collection_id: str) -> None:
        """Remove the record of an unfinished collection, after its files were removed."""
        self._connection.execute("DELETE FROM unfinished WHERE id = ?", (collection_id,))

    def insert(self, record: CollectionRecord) -> None:
        """Add a collection, which completes its creation. Raises AlreadyExistsError if its name or
        id is taken."""
        self._refuse_taken(record)
        self._refuse_id(record.id)
        self.give_up(record.id)
        self._connection.execute(
            "INSERT INTO collections (id, name, settings, apart) VALUES (?, ?, ?, ?)",
            (record.id, record.name, orjson.dumps(record.settings), record.is_qdrant_only),
        )

    def replace(self, record: CollectionRecord) -> None:
        """Change the name and settings of a collection. Raises AlreadyExistsError if another
        collection has the new name."""
        self._refuse_taken(record)
        self._connection.execute(
            "UPDATE collections SET name = ?, settings = ?, apart = ? WHERE id = ?",
            (record.name, orjson.dumps(record.settings), record.is_qdrant_only, record.id),
        )

    def set_named_aside(self, name: str) -> CollectionRecord | None:
        """If a collection has this name, set it aside, so that another collection can get the name.
        Returns the collection that was set aside."""
        records = self._records("AND name = ?", name)
        for record in records:
            self.set_aside(record)
        return records[0] if records else None

    def set_aside(self, record: CollectionRecord) -> None:
        """Remove the name and aliases of a collection, and record that its deletion begins. Until
        the deletion is finished, the collection's id serves as its name."""
        self._connection.execute("DELETE FROM aliases WHERE collection = ?", (record.id,))
        self.replace(CollectionRecord(record.id, record.id, record.settings))
        self.flag(record.id, REPLACED)

    def flag(self, collection_id: str, how: int = DROPPING) -> None:
        """Record that the deletion of a collection begins; or, with `how` = STAYS, that it failed.
        The aliases of the collection are removed when the deletion is finished."""
        self._connection.execute(
            "UPDATE collections SET dropping = ? WHERE id = ?", (how, collection_id)
        )

    def remove(self, collection_id: str) -> None:
        """Remove the row and the aliases of a collection, after its files were removed."""
        self._connection.execute("DELETE FROM aliases WHERE collection = ?", (collection_id,))
        self._connection.execute("DELETE FROM collections WHERE id = ?", (collection_id,))

    def _refuse_id(self, collection_id: str) -> None:
        if self.is_there(collection_id):
            raise AlreadyExistsError(f"collection {collection_id} already exists")

    def _refuse_taken(self, record: CollectionRecord) -> None:
        query = "SELECT 1 FROM collections WHERE name = ? AND id <> ?"
        if select(self._connection, query, record.name, record.id):
            raise AlreadyExistsError(f"collection {record.name!r} already exists")
        if select(self._connection, "SELECT 1 FROM aliases WHERE alias = ?", record.name):
            raise AlreadyExistsError(f"alias {record.name!r} already exists")

    def _records(self, condition: str, *parameters: Any) -> list[CollectionRecord]:
        where = "WHERE true"
        if self._without is not _NONE:
            where, parameters = _WITHOUT, (self._without, *parameters)
        query = f"SELECT id, name, settings FROM collections {where} {condition}"
        try:
            return [_record(*row) for row in select(self._connection, query, *parameters)]
        except RetrievalStoreError:
            raise
        except CORRUPTION_ERRORS as error:
            raise corruption_error(error, self._path) from error


def _record_named(connection: apsw.Connection, name: str) -> CollectionRecord | None:
    """The collection with this name; None if there is no such collection or its deletion has
    begun."""
    query = "SELECT id, name, settings FROM collections WHERE name = ? AND NOT dropping LIMIT 1"
    row: Any = connection.execute(query, (name,)).get
    return None if row is None else _record(*row)


def _record(collection_id: str, name: str, settings: bytes) -> CollectionRecord:
    return CollectionRecord(_check_id(collection_id), name, orjson.loads(settings))


@lru_cache(maxsize=1024)
def _check_id(collection_id: str) -> str:
    if str(uuid.UUID(collection_id)) != collection_id:  # because the id is the name of a directory
        raise ValueError(f"{collection_id!r} is no id of a collection")
    return collection_id
