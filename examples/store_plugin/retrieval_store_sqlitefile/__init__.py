"""A store in one SQLite file. Vectors are blobs, and a query compares all of them.

    pip install ./examples/store_plugin
    client = retrieval_store.Client(url="sqlitefile:///home/me/notes.db")

It is small, because `BaseStore` and `BasePoints` derive all other methods from reads and writes.
"""

import json
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import RLock
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from retrieval_store.errors import InvalidArgumentError, NotFoundError, StorageError
from retrieval_store.extension import (
    BasePoints,
    BaseStore,
    CollectionRecord,
    NewSpace,
    Payload,
    PointId,
    Points,
    Session,
    spaces_in,
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS collections (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, settings TEXT NOT NULL, dimension INTEGER
);
CREATE TABLE IF NOT EXISTS points (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    collection TEXT NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    id TEXT NOT NULL, payload TEXT NOT NULL, document TEXT, uri TEXT, vector BLOB,
    UNIQUE (collection, id)
);
"""
WRITE = """
INSERT INTO points (collection, id, payload, document, uri, vector) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (collection, id) DO UPDATE SET payload = excluded.payload,
    document = excluded.document, uri = excluded.uri, vector = excluded.vector
"""


def open_url(
    url: str, consistency: Any, creates_indexes: bool, options: Mapping[str, Any]
) -> Session:
    """The store in the file that a URL names. A missing file is created."""
    if consistency is not None or options:
        raise InvalidArgumentError(f"a file takes no {', '.join(options) or 'consistency'}")
    path = unquote(urlsplit(url).path)
    if urlsplit(url).netloc or not path.strip("/"):
        raise InvalidArgumentError(f"url is {url!r}, expected sqlitefile:///path/to/file.db")
    database = Database(path)
    return Session(FileStore(database), database.connection.close, f"in {path}")


class Database:
    """A SQLite file, for any number of threads. Its errors are raised as StorageError."""

    def __init__(self, path: str) -> None:
        self._path, self._lock = path, RLock()
        with self._held():
            self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self.connection.execute("PRAGMA foreign_keys = ON")
            self.connection.executescript(SCHEMA)

    @contextmanager
    def _held(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise StorageError(f"{self._path}: {error}") from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A context manager: in its `with` block, no other thread or process writes. All writes of
        the block are stored, or none. A block within another belongs to the outer block."""
        with self._held():
            if self.connection.in_transaction:
                yield
                return
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.connection.rollback()
                raise
            self.connection.commit()

    def rows(self, statement: str, *values: Any) -> list[Any]:
        """The rows that a statement returns."""
        with self._held():
            return self.connection.execute(statement, values).fetchall()

    def run(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each of these rows of parameters."""
        with self.transaction():
            self.connection.executemany(statement, rows)


class FileStore(BaseStore):
    """The collections in a file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        name: str,
        settings: Payload,
        spaces: Mapping[str, NewSpace],
        collection_id: str | None = None,
    ) -> CollectionRecord:
        record = CollectionRecord(collection_id or str(uuid.uuid4()), name, settings)
        if [*spaces] != [""] or spaces[""].datatype != "float32" or record.expires is not None:
            raise InvalidArgumentError(
                "a collection in a file has dense vectors of float32, and records that stay"
            )
        with self._database.transaction():
            self.refuse_taken(name)
            row = record.id, name, json.dumps(settings)
            self._database.run("INSERT INTO collections VALUES (?, ?, ?, NULL)", [row])
        return record

    def change(
        self, collection_id: str, edit: Callable[[CollectionRecord], CollectionRecord]
    ) -> CollectionRecord:
        with self._database.transaction():
            old = self.record(collection_id)
            new = edit(old)
            if new.name != old.name:
                self.refuse_taken(new.name)
            row = new.name, json.dumps(new.settings), collection_id
            self._database.run("UPDATE collections SET name = ?, settings = ? WHERE id = ?", [row])
        return new

    def page(self, limit: int | None, offset: int) -> list[CollectionRecord]:
        statement = "SELECT id, name, settings FROM collections ORDER BY name LIMIT ? OFFSET ?"
        rows = self._database.rows(statement, -1 if limit is None else limit, offset)
        return [CollectionRecord(own_id, name, json.loads(text)) for own_id, name, text in rows]

    def drop(self, name: str) -> None:
        self._database.run("DELETE FROM collections WHERE id = ?", [(self.by_name(name).id,)])

    def points(self, collection_id: str) -> "FilePoints":
        return FilePoints(self._database, self.record(collection_id))


class FilePoints(BasePoints):
    """The points of a collection in a file."""

    def __init__(self, database: Database, record: CollectionRecord) -> None:
        super().__init__(spaces_in(record)[""].metric)
        self._database, self._id = database, record.id

    def transaction(self) -> AbstractContextManager[None]:
        return self._database.transaction()

    @property
    def dimension(self) -> int | None:
        statement = "SELECT dimension FROM collections WHERE id = ?"
        for (dimension,) in self._database.rows(statement, self._id):
            return dimension
        raise NotFoundError.of_deleted("Collection")

    def read(self, ids: Sequence[PointId] | None) -> Points:
        statement = "SELECT id, payload, document, uri, vector FROM points WHERE collection = ?"
        values = [self._id]
        if ids is not None:
            statement += " AND id IN (SELECT value FROM json_each(?))"
            values.append(json.dumps([*ids]))
        rows = self._database.rows(f"{statement} ORDER BY place", *values)
        matrix = np.full((len(rows), self.dimension or 0), np.nan, np.float32)
        for i, (*_, vector) in enumerate(rows):
            if vector is not None:
                matrix[i] = np.frombuffer(vector, "<f4")
        own_ids, documents, uris = ([row[column] for row in rows] for column in (0, 2, 3))
        payloads = [json.loads(row[1]) for row in rows]
        return Points(own_ids, payloads, documents, uris, {"": matrix})

    def write(self, points: Points) -> None:
        payloads, documents, uris = points.payloads or (), points.documents or (), points.uris or ()
        matrix = np.asarray((points.vectors or {})[""], "<f4")
        vectors = (None if np.isnan(row).all() else row.tobytes() for row in matrix)
        rows = zip(points.ids, map(json.dumps, payloads), documents, uris, vectors, strict=True)
        self._database.run(WRITE, [(self._id, *row) for row in rows])
        kept = [(matrix.shape[1] or None, self._id)]
        self._database.run("UPDATE collections SET dimension = ? WHERE id = ?", kept)

    def remove(self, ids: Sequence[PointId]) -> None:
        rows = [(self._id, own_id) for own_id in ids]
        self._database.run("DELETE FROM points WHERE collection = ? AND id = ?", rows)
