"""Memory and descriptors of many collections, and the cost of checksums.

    python benchmarks/many.py [--collections 2000] [--points 100000]

Checksums: ingest and exact queries with and without the CRC of vector blocks. The databases' own
checksums can't be switched off, so they are compared on a separate table. Prints JSON.
"""

import argparse
import json
import os
import tempfile
import time
import zlib
from pathlib import Path
from unittest.mock import patch

import apsw
import numpy as np

import retrieval_store
from retrieval_store.engine.sqlite import CHECKSUM_BYTES, CHECKSUM_VFS


def resident() -> float:
    """Megabytes of this process's memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1e3
    return float("nan")


def many(collections: int, folder: Path) -> dict[str, float]:
    """Create this many collections, fill each with a few points, and use them."""
    before, start = resident(), time.perf_counter()
    most = 0
    with retrieval_store.Client(folder) as client:
        for i in range(collections):
            things = client.create_collection(f"things-{i}", embedding_function=None)
            things.add(ids=["a", "b"], embeddings=[[1, 2], [3, 4]], metadatas=[{"n": 1}, {"n": 2}])
            things.query(query_embeddings=[[1, 2]], where={"n": 1})
            most = max(most, len(os.listdir("/proc/self/fd")))
        made = time.perf_counter() - start
        start = time.perf_counter()
        for i in range(collections):
            client.get_collection(f"things-{i}", embedding_function=None).count()
        used = time.perf_counter() - start
        grown = resident() - before
    return {
        "collections": collections,
        "made ms each": made / collections * 1e3,
        "woken and counted ms each": used / collections * 1e3,
        "memory MB": grown,
        "descriptors at most": most,
    }


def ingested(points: int, folder: Path) -> dict[str, float]:
    """CPU seconds of ingest, and of the first and later exact queries in a new client."""
    vectors = np.random.default_rng(0).standard_normal((points, 384)).astype(np.float32)
    start = time.process_time()
    with retrieval_store.Client(folder) as client:
        things = client.create_collection("things", {"index": "exact"}, embedding_function=None)
        for at in range(0, points, 1_000):
            stop = min(points, at + 1_000)
            things.add(ids=[str(i) for i in range(at, stop)], embeddings=vectors[at:stop])
    figures = {"ingest CPU s": time.process_time() - start}
    with retrieval_store.Client(folder) as client:
        things = client.get_collection("things", embedding_function=None)
        for label in ("first query ms", "second query ms"):
            start = time.perf_counter()
            things.query(query_embeddings=vectors[:1])
            figures[label] = (time.perf_counter() - start) * 1e3
    return figures


def database(folder: Path, vfs: str | None) -> dict[str, float]:
    """CPU seconds of writing and reading 100,000 rows, with or without the checksum VFS."""
    more = {} if vfs is None else {"vfs": vfs}
    connection = apsw.Connection(str(folder / f"rows-{vfs}"), **more)
    if vfs is not None:
        connection.reserve_bytes("main", CHECKSUM_BYTES)
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)")
    start = time.process_time()
    with connection:
        rows = ((i, f"a text of ordinary length, number {i} " * 3) for i in range(100_000))
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
    wrote = time.process_time() - start
    start = time.process_time()
    connection.execute("SELECT count(v) FROM t WHERE v LIKE '%7%'").fetchall()
    read = time.process_time() - start
    connection.close()
    return {"write CPU s": wrote, "read CPU s": read}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collections", type=int, default=2_000)
    parser.add_argument("--points", type=int, default=100_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        figures = {"many": many(chosen.collections, folder / "many")}
        ingested(chosen.points // 10, folder / "warm")
        figures["with block checksums"] = ingested(chosen.points, folder / "with")
        with patch.object(zlib, "crc32", lambda data, value=0: 0):
            figures["without"] = ingested(chosen.points, folder / "without")
        figures["rows with page checksums"] = database(folder, CHECKSUM_VFS)
        figures["rows without"] = database(folder, None)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
