"""Small stores: filled, read in every way, written to, verified, and changed with correct
checksums.
"""

import shutil
import struct
from contextlib import closing

import apsw
import numpy as np

import retrieval_store
from retrieval_store.engine.sqlite import CHECKSUM_BYTES
from retrieval_store.errors import StorageError
from tests.helpers.sqlite_pages import PAGE, Pages

EVERYTHING = ["metadatas", "documents", "embeddings"]
DIMENSION = 4


def fill(path, count):
    with retrieval_store.Client(path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(
            ids=[f"id {i}" for i in range(count)],
            embeddings=np.arange(count * DIMENSION).reshape(count, DIMENSION),
            documents=[f"text {i}" for i in range(count)],
            metadatas=[{"n": i, "kind": "x" * (i % 5)} for i in range(count)],
        )
        things.delete(ids=["id 1"])
        things.update(ids="id 2", embeddings=np.zeros(DIMENSION), metadatas={"n": -1})


def filled(path, count=2_000, dimension=8):
    """A larger store, whose points were never changed."""
    with retrieval_store.Client(path) as client:
        collection = client.create_collection("things", embedding_function=None)
        collection.add(
            ids=[str(i) for i in range(count)],
            embeddings=np.arange(count * dimension).reshape(count, dimension),
            documents=[f"the text of document {i}" for i in range(count)],
            metadatas=[{"n": i} for i in range(count)],
        )


def everything(path):
    """Everything that can be read, in several ways; raises if one of them does."""
    with retrieval_store.Client(path) as client:
        (things,) = client.list_collections()
        got = things.get(include=EVERYTHING)
        found = things.query(query_embeddings=np.ones(DIMENSION), n_results=5)
        filtered = things.get(where={"n": {"$gte": 3}}, include=[])["ids"]
        texts = things.get(where_document={"$contains": "text"}, include=[])["ids"]
        named = things.get(ids="id 3")["documents"]
        return (
            things.name,
            things.count(),
            {**got, "embeddings": got["embeddings"].tolist()},
            found,
            filtered,
            texts,
            named,
        )


def write(store):
    with retrieval_store.Client(store) as client:
        (things,) = client.list_collections()
        things.upsert(ids=["id 3", "new"], embeddings=np.ones((2, 4)), metadatas=[{"n": 1}] * 2)


def delete(store):
    with retrieval_store.Client(store) as client:
        for collection in client.list_collections():
            client.delete_collection(collection.name)


def problems(path):
    """The files that verification reports as damaged, also if the store can't be opened."""
    try:
        with retrieval_store.Client(path) as client:
            return {report.file.name for report in client.verify() if report.problem}
    except StorageError as error:
        return {name for name in ("catalog.sqlite", "points.sqlite") if name in str(error)}


def points_file(store):
    (file,) = store.glob("*/points.sqlite")
    return file


def sql(file, statement, *parameters):
    """Change a database with correct checksums."""
    with retrieval_store.Client(file.parent / "another"):  # registers the checksum VFS
        pass
    database = apsw.Connection(str(file), vfs="cksmvfs")
    database.execute(statement, parameters)
    database.close()
    shutil.rmtree(file.parent / "another")


def endless(database):
    """Make the tree of points refer to the same pages repeatedly, with correct checksums, so that
    reading all of it never ends."""
    for document in ("x" * 60_000, None):  # which leaves free pages
        sql(database, "UPDATE points SET document = ? WHERE pk = 0", document)
    with closing(apsw.Connection(str(database), vfs="cksmvfs")) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'points'"
        ((root,),) = connection.execute(query).fetchall()
    with Pages(database) as pages:
        last = below = len(pages)
        pages[last][:] = pages[root]
        for page in [*range(last - 1, last - 7, -1), root]:
            pages[page][:] = interior(below)
            below = page


def interior(child):
    """An inner page of a table's tree whose children are all the same page."""
    cells = b"".join(struct.pack(">I", child) + bytes([0x81, i]) for i in range(100))
    start = PAGE - CHECKSUM_BYTES - len(cells)
    places = b"".join(struct.pack(">H", start + 6 * i) for i in range(100))
    head = bytes([5]) + struct.pack(">HHHBI", 0, 100, start, 0, child)
    return (head + places).ljust(start, b"\0") + cells + bytes(CHECKSUM_BYTES)
