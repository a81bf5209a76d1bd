"""Where Python lacks what POSIX has: a store in memory works, and one on disk says what is there."""

import subprocess
import sys

WITHOUT = """
import os, sys
import asyncio, apsw, numpy, orjson, qdrant_client, re2, wordllama  # their own imports may ask what system this is
for name in ("fcntl", "resource"):
    sys.modules[name] = None
for name in ("O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC", "O_NONBLOCK", "register_at_fork", "fork",
             "pread", "preadv", "pwrite", "posix_fallocate", "posix_fadvise", "statvfs", "sysconf",
             "sched_getaffinity", "getuid", "geteuid", "fchmod", "uname"):
    if hasattr(os, name):
        delattr(os, name)
sys.platform = "win32"
import retrieval_store
"""


def run(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + code, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_stores_in_memory_work():
    code = """
with retrieval_store.Client() as client:
    notes = client.create_collection("notes")
    notes.add(["a", "b"], documents=["the cat sleeps", "interest rates"], metadatas=[{"n": 1}] * 2)
    print(notes.query(query_texts="kitten", n_results=1)["ids"])
    print(notes.query(query_texts="rates", mode="text", where={"n": 1})["ids"])
    notes.delete(ids="a")
    notes.optimize()
    print(notes.count(), notes.stats()["points"])
from retrieval_store.qdrant import QdrantClient, models
with QdrantClient(":memory:") as client:
    client.create_collection("c", models.VectorParams(size=2, distance="Dot"))
    client.upsert("c", [models.PointStruct(id=1, vector=[1, 2])])
    print(client.query_points("c", [1.0, 1.0]).points[0].score)
"""
    assert run(code).split("\n")[:4] == ["[['a']]", "[['b']]", "1 1", "3.0"]


def test_stores_on_disk_say_where_they_work(tmp_path):
    code = """
from retrieval_store.qdrant import QdrantClient
for make in (retrieval_store.Client, lambda path: QdrantClient(path=path)):
    try:
        make(sys.argv[1])
    except retrieval_store.errors.StorageError as error:
        print(error)
print(os.listdir(sys.argv[1]))
"""
    said = "stores on disk work on Linux and macOS; use one in memory. On Windows nobody has run them, and what they hold may be lost: set RETRIEVAL_STORE_WINDOWS=trial to try them"
    assert run(code, str(tmp_path)).split("\n")[:3] == [said, said, "[]"]
